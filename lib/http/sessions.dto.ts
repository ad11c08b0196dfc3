import { REFRESH_IN_BODY, SECRET_KEY_IN_BODY, Text, Trim } from './body-fields.js';

/** The body of `login/`. `username` stands for the field that the option `usernameField` names. */
export class LoginDto {
  @Text({ name: true })
  username!: string;

  @Text()
  password!: string;

  @Text({ groups: [SECRET_KEY_IN_BODY] })
  secret_key?: string;

  @Text({ name: true })
  @Trim()
  session!: string;

  @Text({ optional: true })
  @Trim()
  info?: string;
}

/** The body of `refresh/`. */
export class RefreshDto {
  @Text({ groups: [REFRESH_IN_BODY] })
  refresh!: string;

  @Text({ groups: [SECRET_KEY_IN_BODY] })
  secret_key?: string;

  @Text({ name: true })
  @Trim()
  session!: string;
}

/** The body of `logout/`. */
export class LogoutDto {
  @Text({ groups: [SECRET_KEY_IN_BODY] })
  secret_key?: string;

  @Text({ groups: [REFRESH_IN_BODY] })
  refresh!: string;
}

/** The body of `reauthenticate/`. `username` as at login. */
export class ReauthenticateDto {
  @Text({ name: true })
  username!: string;

  @Text()
  password!: string;
}

/** The body of `list/`. */
export class ListDto {
  @Text({ name: true })
  @Trim()
  session!: string;
}

/** The body of `destroy/`. */
export class DestroyDto {
  @Text({ name: true })
  session_id!: string;
}

/** The body of `destroyAllOther/`. */
export class DestroyAllOtherDto {
  @Text({ name: true })
  @Trim()
  session!: string;

  @Text({ groups: [REFRESH_IN_BODY] })
  refresh!: string;
}

/**
 * The answer of `login/`. The tokens are absent where they travel in cookies. That of a login to a permanent type is
 * drf-jwt-devices'.
 */
export type LoginAnswer =
  | { refresh?: string; access?: string; session_id: string }
  | { token: string; permanent_token: string; device_id: string };

/** The answer of `refresh/`: the tokens, `refresh` only where one is handed out; `session_id` alone where they travel in cookies. */
export interface RefreshAnswer {
  refresh?: string;
  access?: string;
  session_id?: string;
}

/** One session in the answer of `list/`; times are ISO 8601 in UTC. */
export interface ListedSession {
  session_id: string;
  created_at: string;
  last_update: string;
  expires_at: string;
  session_info: string;
}

/** The answer of `list/`: a part for each type asked for, named by the type with a capital first letter. */
export type ListAnswer = Record<string, { 'Available Sessions': string; Sessions: ListedSession[] }>;
