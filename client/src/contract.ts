/** The types of the HTTP contract, generated from the server by `npm run client:types`. Do not edit them. */
export type LoginRequest = {
  username: string;
  password: string;
  secret_key?: string;
  session: string;
  info?: string;
  persistent?: boolean;
};
export type LoginAnswer = { refresh: string; access: string; session_id: string; token_type?: 'DPoP' };
export type CookieAnswer = { session_id: string; session_type: string; expires_in: number; session_expires_in: number };
export type ErrorBody = {
  statusCode: number;
  error: string;
  message: string;
  code:
    | 'bad_authorization_header'
    | 'csrf_failed'
    | 'device_challenge'
    | 'header_not_permitted'
    | 'invalid_credentials'
    | 'invalid_dpop_proof'
    | 'invalid_session_type'
    | 'not_authenticated'
    | 'reauthentication_required'
    | 'renewal_not_allowed'
    | 'device_proof_required'
    | 'secret_key_invalid'
    | 'server_fault'
    | 'session_data_invalid'
    | 'session_limit_reached'
    | 'session_not_found'
    | 'session_proof_required'
    | 'session_type_not_allowed'
    | 'token_not_valid'
    | 'unavailable'
    | 'use_dpop_nonce'
    | 'validation_failed';
  reason?: string;
  errors?: {} & { [name: string]: string[] };
};
export type RefreshRequest = { refresh?: string; secret_key?: string; session?: string };
export type RefreshAnswer = { refresh?: string; access: string; token_type?: 'DPoP' };
export type ListRequest = { session: string };
export type ListAnswer = {} & { [name: string]: SessionsOfType };
export type SessionsOfType = { 'Available Sessions': string; Sessions: ListedSession[] };
export type ListedSession = {
  session_id: string;
  created_at: string;
  last_update: string;
  expires_at: string;
  session_info: string;
};
export type DestroyRequest = { session_id: string };
export type EmptyAnswer = {};
export type DestroyAllOtherRequest = { session: string; refresh?: string };
export type LogoutRequest = { secret_key?: string; refresh?: string };
export type ReauthenticateRequest = { username: string; password: string };
export type JwkSet = { keys: ({} & { [name: string]: unknown })[] };
export type ManagedSession = Session & { current: boolean };
export type Session = {
  id: string;
  type: string;
  device: string | null;
  browser: Software | null;
  os: Software | null;
  kind: 'mobile' | 'tablet' | 'pc' | 'tv' | 'bot' | 'other';
  ip_address: string | null;
  info: string;
  created_at: string;
  last_update: string;
  expires_at: string;
  client_changed_at: string | null;
  bound: boolean;
};
export type Software = { name: string; version: string | null };
export type SessionHistory = { events: PastEvent[]; next: string | null };
export type PastEvent = {
  id: string;
  event:
    | 'session.created'
    | 'session.ended'
    | 'session.client-changed'
    | 'user.revoked'
    | 'refresh.reused'
    | 'login.new-device';
  at: string;
  session_id: string | null;
  session_type: string | null;
  reason: string | null;
  by: 'user' | 'admin' | 'policy' | 'system';
  device: string | null;
  browser: Software | null;
  os: Software | null;
  ip_address: string | null;
};
export type EndedAnswer = { ended: number };
export type DeleteListRequest = { ids: string[] };
export type VerifyRequest = { token: string; secret_key: string };
export type ActiveToken = {
  active: boolean;
  token_type?: 'Bearer' | 'DPoP';
  token_use: 'access' | 'refresh';
  sub: string;
  sid: string;
  session_type: string;
  exp: number;
  iat: number;
  jti: string;
} & { [name: string]: unknown };
export type InactiveToken = { active: boolean };
export type RenewRequest = { refresh?: string; secret_key?: string };
export type RenewedToken = { access: string; expires_in: number };
export type Revocations = {
  now: number;
  polled_at: number;
  waited: number;
  cursor: string;
  complete: boolean;
  full: boolean;
  ended: {} & { [name: string]: number };
  announced: {} & { [name: string]: number };
  next_page: number | null;
  size: number;
  epoch: FeedEpoch;
  tokens: FeedTokens;
  types: {} & { [name: string]: FeedType };
};
export type FeedEpoch = { current: string; first: string };
export type FeedTokens = {
  issuer: string | null;
  user_id_claim: string;
  user_id_type: 'string' | 'number';
  token_type_claim: string;
  jti_claim: string;
  clock_tolerance: number;
};
export type FeedType = { access_token_lifetime: number; access_check: 'signature' | 'blacklist' | 'session' };
export type AdminSessionPage = { sessions: AdminSession[]; next: string | null; can_search_users: boolean };
export type AdminSession = Session & { user_id: string | number; user_name: string | null };
export type AdminSessionHistory = { events: AdminPastEvent[]; next: string | null };
export type AdminPastEvent = PastEvent & { by_user_id: (string | number) | null; by_user_name: string | null };
export type EndAllRequest = { confirm: 'END ALL SESSIONS' };
export type EndAllProgress = {
  status: 'none' | 'running' | 'waiting' | 'done';
  ended: number;
  started_at: string | null;
  second_pass_at: string | null;
  finished_at: string | null;
};
export type AdminActionPage = { actions: AdminAction[]; next: string | null };
export type AdminAction = {
  id: string;
  at: string;
  action: 'end-session' | 'end-user' | 'end-all' | 'replay-events';
  by_user_id: (string | number) | null;
  by_user_name: string | null;
  user_id: (string | number) | null;
  user_name: string | null;
  session_id: string | null;
  ended: number | null;
  details: {} & { [name: string]: unknown };
};
export type SigningKey = {
  kid: string;
  algorithm: string;
  state: 'pending' | 'active' | 'replaced';
  created_at: string;
  active_at: string | null;
};
export type EventStatus = { undistributed: number; lag_ms: number; destinations: EventDestination[] };
export type EventDestination = {
  name: string;
  waiting: number;
  dead_letters: number;
  lag_ms: number;
  paused_until: string | null;
  gone_at: string | null;
};
export type DeadLetter = { event_id: string; event: string; at: string; failed_at: string; error: string | null };
export type ReplayEventsRequest = { destination: string; event_id?: string; since?: string; until?: string };
export type ReplayedEvents = { replayed: number };
export type SessionStatistics = { active: {} & { [name: string]: number }; days: DayStatistics[] };
export type DayStatistics = {
  day: string;
  logins: {} & { [name: string]: number };
  endings: {} & { [name: string]: number };
};
export interface Operations {
  SessionsController_login: {
    body: LoginRequest;
    answers: {
      200: LoginAnswer | CookieAnswer;
      400: ErrorBody & {
        code?: 'validation_failed' | 'invalid_session_type' | 'invalid_dpop_proof' | 'use_dpop_nonce';
      };
      401: ErrorBody & { code?: 'secret_key_invalid' | 'invalid_credentials' | 'device_proof_required' };
      403: ErrorBody & { code?: 'csrf_failed' };
      409: ErrorBody & { code?: 'session_limit_reached' };
      503: ErrorBody & { code?: 'unavailable' };
    };
  };
  SessionsController_refresh: {
    body: RefreshRequest;
    answers: {
      200: RefreshAnswer | CookieAnswer;
      400: ErrorBody & {
        code?: 'validation_failed' | 'invalid_session_type' | 'invalid_dpop_proof' | 'use_dpop_nonce';
      };
      401: ErrorBody & {
        code?:
          | 'secret_key_invalid'
          | 'token_not_valid'
          | 'session_not_found'
          | 'session_proof_required'
          | 'device_proof_required';
      };
      403: ErrorBody & { code?: 'csrf_failed' };
      503: ErrorBody & { code?: 'unavailable' };
    };
  };
  SessionsController_list: {
    body: ListRequest;
    answers: {
      200: ListAnswer;
      400: ErrorBody & { code?: 'validation_failed' | 'invalid_session_type' };
      401: ErrorBody & {
        code?:
          | 'not_authenticated'
          | 'bad_authorization_header'
          | 'token_not_valid'
          | 'device_proof_required'
          | 'invalid_dpop_proof'
          | 'use_dpop_nonce';
      };
      403: ErrorBody & { code?: 'csrf_failed' };
      503: ErrorBody & { code?: 'unavailable' };
    };
  };
  SessionsController_destroy: {
    body: DestroyRequest;
    answers: {
      200: EmptyAnswer;
      400: ErrorBody & { code?: 'validation_failed' };
      401: ErrorBody & {
        code?:
          | 'not_authenticated'
          | 'bad_authorization_header'
          | 'token_not_valid'
          | 'device_proof_required'
          | 'invalid_dpop_proof'
          | 'use_dpop_nonce';
      };
      403: ErrorBody & { code?: 'csrf_failed' };
      404: ErrorBody & { code?: 'session_not_found' };
      503: ErrorBody & { code?: 'unavailable' };
    };
  };
  SessionsController_destroyAllOther: {
    body: DestroyAllOtherRequest;
    answers: {
      200: EmptyAnswer;
      400: ErrorBody & { code?: 'validation_failed' | 'invalid_session_type' };
      401: ErrorBody & {
        code?:
          | 'not_authenticated'
          | 'bad_authorization_header'
          | 'token_not_valid'
          | 'device_proof_required'
          | 'invalid_dpop_proof'
          | 'use_dpop_nonce';
      };
      403: ErrorBody & { code?: 'csrf_failed' };
      503: ErrorBody & { code?: 'unavailable' };
    };
  };
  SessionsController_logout: {
    body: LogoutRequest;
    answers: {
      200: EmptyAnswer;
      400: ErrorBody & { code?: 'validation_failed' };
      401: ErrorBody & { code?: 'secret_key_invalid' | 'session_not_found' };
      403: ErrorBody & { code?: 'csrf_failed' };
      503: ErrorBody & { code?: 'unavailable' };
    };
  };
  SessionsController_reauthenticate: {
    body: ReauthenticateRequest;
    answers: {
      200: LoginAnswer | CookieAnswer;
      400: ErrorBody & { code?: 'validation_failed' | 'invalid_dpop_proof' | 'use_dpop_nonce' };
      401: ErrorBody & {
        code?:
          | 'not_authenticated'
          | 'bad_authorization_header'
          | 'token_not_valid'
          | 'device_proof_required'
          | 'invalid_dpop_proof'
          | 'use_dpop_nonce'
          | 'invalid_credentials';
      };
      403: ErrorBody & { code?: 'csrf_failed' };
      503: ErrorBody & { code?: 'unavailable' };
    };
  };
  SessionsController_jwks: { body: undefined; answers: { 200: JwkSet } };
  DbscController_stepUp: {
    body: undefined;
    answers: {
      204: undefined;
      401: ErrorBody & {
        code?:
          | 'not_authenticated'
          | 'bad_authorization_header'
          | 'token_not_valid'
          | 'device_proof_required'
          | 'invalid_dpop_proof'
          | 'use_dpop_nonce';
      };
      403: ErrorBody & { code?: 'csrf_failed' };
      503: ErrorBody & { code?: 'unavailable' };
    };
  };
  SessionManagementController_list: {
    body: undefined;
    answers: {
      200: ManagedSession[];
      401: ErrorBody & {
        code?:
          | 'not_authenticated'
          | 'bad_authorization_header'
          | 'token_not_valid'
          | 'device_proof_required'
          | 'invalid_dpop_proof'
          | 'use_dpop_nonce';
      };
      503: ErrorBody & { code?: 'unavailable' };
    };
  };
  SessionManagementController_endOthers: {
    body: undefined;
    answers: {
      200: EndedAnswer;
      401: ErrorBody & {
        code?:
          | 'not_authenticated'
          | 'bad_authorization_header'
          | 'token_not_valid'
          | 'device_proof_required'
          | 'invalid_dpop_proof'
          | 'use_dpop_nonce';
      };
      403: ErrorBody & { code?: 'csrf_failed' };
      503: ErrorBody & { code?: 'unavailable' };
    };
  };
  SessionManagementController_history: {
    body: undefined;
    answers: {
      200: SessionHistory;
      400: ErrorBody & { code?: 'validation_failed' };
      401: ErrorBody & {
        code?:
          | 'not_authenticated'
          | 'bad_authorization_header'
          | 'token_not_valid'
          | 'device_proof_required'
          | 'invalid_dpop_proof'
          | 'use_dpop_nonce';
      };
      503: ErrorBody & { code?: 'unavailable' };
    };
  };
  SessionManagementController_end: {
    body: undefined;
    answers: {
      204: undefined;
      401: ErrorBody & {
        code?:
          | 'not_authenticated'
          | 'bad_authorization_header'
          | 'token_not_valid'
          | 'device_proof_required'
          | 'invalid_dpop_proof'
          | 'use_dpop_nonce';
      };
      403: ErrorBody & { code?: 'csrf_failed' };
      404: ErrorBody & { code?: 'session_not_found' };
      503: ErrorBody & { code?: 'unavailable' };
    };
  };
  SessionManagementController_endList: {
    body: DeleteListRequest;
    answers: {
      200: EndedAnswer;
      400: ErrorBody & { code?: 'validation_failed' };
      401: ErrorBody & {
        code?:
          | 'not_authenticated'
          | 'bad_authorization_header'
          | 'token_not_valid'
          | 'device_proof_required'
          | 'invalid_dpop_proof'
          | 'use_dpop_nonce';
      };
      403: ErrorBody & { code?: 'csrf_failed' };
      404: ErrorBody & { code?: 'session_not_found' };
      503: ErrorBody & { code?: 'unavailable' };
    };
  };
  SessionManagementController_verify: {
    body: VerifyRequest;
    answers: {
      200: ActiveToken | InactiveToken;
      400: ErrorBody & { code?: 'validation_failed' };
      401: ErrorBody & { code?: 'secret_key_invalid' };
      503: ErrorBody & { code?: 'unavailable' };
    };
  };
  SessionManagementController_renew: {
    body: RenewRequest;
    answers: {
      200: RenewedToken;
      400: ErrorBody & { code?: 'validation_failed' };
      401: ErrorBody & {
        code?:
          | 'secret_key_invalid'
          | 'token_not_valid'
          | 'session_not_found'
          | 'session_proof_required'
          | 'device_proof_required';
      };
      403: ErrorBody & { code?: 'renewal_not_allowed' };
      503: ErrorBody & { code?: 'unavailable' };
    };
  };
  SessionManagementController_revocations: {
    body: undefined;
    answers: {
      200: Revocations;
      400: ErrorBody & { code?: 'validation_failed' };
      401: ErrorBody & { code?: 'secret_key_invalid' };
      503: ErrorBody & { code?: 'unavailable' };
    };
  };
  AdminSessionsController_list: {
    body: undefined;
    answers: {
      200: AdminSessionPage;
      400: ErrorBody & { code?: 'validation_failed' | 'invalid_session_type' };
      401: ErrorBody & {
        code?:
          | 'not_authenticated'
          | 'bad_authorization_header'
          | 'token_not_valid'
          | 'device_proof_required'
          | 'invalid_dpop_proof'
          | 'use_dpop_nonce';
      };
      503: ErrorBody & { code?: 'unavailable' };
    };
  };
  AdminSessionsController_end: {
    body: undefined;
    answers: {
      204: undefined;
      401: ErrorBody & {
        code?:
          | 'not_authenticated'
          | 'bad_authorization_header'
          | 'token_not_valid'
          | 'device_proof_required'
          | 'invalid_dpop_proof'
          | 'use_dpop_nonce';
      };
      403: ErrorBody & { code?: 'csrf_failed' };
      404: ErrorBody & { code?: 'session_not_found' };
      503: ErrorBody & { code?: 'unavailable' };
    };
  };
  AdminSessionsController_endOfUser: {
    body: undefined;
    answers: {
      200: EndedAnswer;
      401: ErrorBody & {
        code?:
          | 'not_authenticated'
          | 'bad_authorization_header'
          | 'token_not_valid'
          | 'device_proof_required'
          | 'invalid_dpop_proof'
          | 'use_dpop_nonce';
      };
      403: ErrorBody & { code?: 'csrf_failed' };
      503: ErrorBody & { code?: 'unavailable' };
    };
  };
  AdminSessionsController_historyOfUser: {
    body: undefined;
    answers: {
      200: AdminSessionHistory;
      400: ErrorBody & { code?: 'validation_failed' };
      401: ErrorBody & {
        code?:
          | 'not_authenticated'
          | 'bad_authorization_header'
          | 'token_not_valid'
          | 'device_proof_required'
          | 'invalid_dpop_proof'
          | 'use_dpop_nonce';
      };
      503: ErrorBody & { code?: 'unavailable' };
    };
  };
  AdminSessionsController_endAll: {
    body: EndAllRequest;
    answers: {
      200: EndAllProgress;
      400: ErrorBody & { code?: 'validation_failed' };
      401: ErrorBody & {
        code?:
          | 'not_authenticated'
          | 'bad_authorization_header'
          | 'token_not_valid'
          | 'device_proof_required'
          | 'invalid_dpop_proof'
          | 'use_dpop_nonce';
      };
      403: ErrorBody & { code?: 'csrf_failed' };
      503: ErrorBody & { code?: 'unavailable' };
    };
  };
  AdminSessionsController_endAllProgress: {
    body: undefined;
    answers: {
      200: EndAllProgress;
      401: ErrorBody & {
        code?:
          | 'not_authenticated'
          | 'bad_authorization_header'
          | 'token_not_valid'
          | 'device_proof_required'
          | 'invalid_dpop_proof'
          | 'use_dpop_nonce';
      };
      503: ErrorBody & { code?: 'unavailable' };
    };
  };
  AdminSessionsController_actions: {
    body: undefined;
    answers: {
      200: AdminActionPage;
      400: ErrorBody & { code?: 'validation_failed' };
      401: ErrorBody & {
        code?:
          | 'not_authenticated'
          | 'bad_authorization_header'
          | 'token_not_valid'
          | 'device_proof_required'
          | 'invalid_dpop_proof'
          | 'use_dpop_nonce';
      };
      503: ErrorBody & { code?: 'unavailable' };
    };
  };
  AdminSessionsController_keys: {
    body: undefined;
    answers: {
      200: SigningKey[];
      401: ErrorBody & {
        code?:
          | 'not_authenticated'
          | 'bad_authorization_header'
          | 'token_not_valid'
          | 'device_proof_required'
          | 'invalid_dpop_proof'
          | 'use_dpop_nonce';
      };
      503: ErrorBody & { code?: 'unavailable' };
    };
  };
  AdminSessionsController_eventStatus: {
    body: undefined;
    answers: {
      200: EventStatus;
      401: ErrorBody & {
        code?:
          | 'not_authenticated'
          | 'bad_authorization_header'
          | 'token_not_valid'
          | 'device_proof_required'
          | 'invalid_dpop_proof'
          | 'use_dpop_nonce';
      };
      503: ErrorBody & { code?: 'unavailable' };
    };
  };
  AdminSessionsController_deadLetters: {
    body: undefined;
    answers: {
      200: DeadLetter[];
      400: ErrorBody & { code?: 'validation_failed' };
      401: ErrorBody & {
        code?:
          | 'not_authenticated'
          | 'bad_authorization_header'
          | 'token_not_valid'
          | 'device_proof_required'
          | 'invalid_dpop_proof'
          | 'use_dpop_nonce';
      };
      503: ErrorBody & { code?: 'unavailable' };
    };
  };
  AdminSessionsController_replay: {
    body: ReplayEventsRequest;
    answers: {
      200: ReplayedEvents;
      400: ErrorBody & { code?: 'validation_failed' };
      401: ErrorBody & {
        code?:
          | 'not_authenticated'
          | 'bad_authorization_header'
          | 'token_not_valid'
          | 'device_proof_required'
          | 'invalid_dpop_proof'
          | 'use_dpop_nonce';
      };
      403: ErrorBody & { code?: 'csrf_failed' };
      503: ErrorBody & { code?: 'unavailable' };
    };
  };
  AdminSessionsController_statistics: {
    body: undefined;
    answers: {
      200: SessionStatistics;
      400: ErrorBody & { code?: 'validation_failed' };
      401: ErrorBody & {
        code?:
          | 'not_authenticated'
          | 'bad_authorization_header'
          | 'token_not_valid'
          | 'device_proof_required'
          | 'invalid_dpop_proof'
          | 'use_dpop_nonce';
      };
      503: ErrorBody & { code?: 'unavailable' };
    };
  };
}
