export {
  DJANGO_ERROR_FILTER_OPTIONS,
  DjangoErrorFilter,
  type DjangoErrorFilterOptions,
} from './django-error.filter.js';
