import { TextList, Text, SECRET_KEY_IN_BODY } from './body-fields.js';
import type { DeviceKind } from '../session/user-agent.js';

/** So many sessions one `sessions/delete-list` may name. */
export const MAX_LISTED_IDS = 100;

/** The body of `sessions/delete-list`. */
export class DeleteListDto {
  @TextList({ maxLength: MAX_LISTED_IDS })
  ids!: string[];
}

/** The body of `verify/`. */
export class VerifyDto {
  @Text()
  token!: string;

  @Text({ groups: [SECRET_KEY_IN_BODY] })
  secret_key?: string;
}

/** What a person wants to see of a session. Times are ISO 8601 in UTC. */
export interface DescribedSession {
  id: string;
  type: string;
  /** The device's name as it said it. */
  device: string | null;
  /** What the user agent says of itself: the client's own word. */
  browser: { name: string; version: string | null } | null;
  os: { name: string; version: string | null } | null;
  kind: DeviceKind;
  /** The last one known, by the application's own setting for proxies. */
  ip_address: string | null;
  info: string;
  created_at: string;
  last_update: string;
  expires_at: string;
}

/** One session in the answer of `GET sessions`. */
export interface ManagedSession extends DescribedSession {
  /** Whether it is the one that asks. */
  current: boolean;
}

/** How many sessions a request has ended. */
export interface EndedAnswer {
  ended: number;
}

/** The answer of `verify/` (RFC 7662 section 2.2): `{ active: false }`, or what the token says. */
export type IntrospectionAnswer =
  | { active: false }
  | {
      active: true;
      /** Of an access token (RFC 6749 section 5.1). */
      token_type?: 'Bearer';
      token_use: 'access' | 'refresh';
      sub: string;
      sid: string;
      session_type: string;
      /** Seconds since 1970, as is `iat`. */
      exp: number;
      iat: number;
      jti: string;
      /** An access token's further claims, the application's own among them. */
      [claim: string]: unknown;
    };
