export { SessionError } from '../errors.js';
export type { RequestHeaders } from './cookies.js';
export {
  expressSession,
  type NextSession,
  nextSession,
  type NextSessionOptions,
  nuxtSession,
  svelteKitSession,
} from './frameworks.js';
export { type PageSession, pageSessions, type RendererOptions } from './page-session.js';
