export {
  DJANGO_ERROR_FILTER_OPTIONS,
  DjangoErrorFilter,
  type DjangoErrorFilterOptions,
} from './django-error.filter.js';
export { DJANGO_SHORT_AND_LONG } from './presets.js';
export { needsRehash, verifyDjangoPassword } from './passwords.js';
