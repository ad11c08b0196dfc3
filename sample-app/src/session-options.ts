import { randomBytes } from 'node:crypto';
import { type MultiSessionOptions, SHORT_AND_LONG } from 'nestjs-multisession';
import { DJANGO_SHORT_AND_LONG } from 'nestjs-multisession/django';

/** The module's options and the prefix of its routes. */
export type SessionOptions = MultiSessionOptions & { path?: string };

/** Options that only the code of this application sets. */
const SET_BY_CODE = ['authenticator', 'controller', 'dataSource', 'imports', 'isGlobal', 'sessionTypes'];

/**
 * Merges the file over the demo's options, and the members of `jwt` one by one. The library checks the values.
 *
 * @throws if the file is not an object or sets an option that only the code may set
 */
export function readSessionOptions(
  file: unknown,
  variables: Readonly<Record<string, string | undefined>>,
  djangoCompat: boolean,
): SessionOptions {
  if (!isObject(file)) throw new Error('must hold a JSON object');
  const misplaced = SET_BY_CODE.filter((name) => Object.hasOwn(file, name));
  if (misplaced.length > 0) throw new Error(`${misplaced.join(', ')} cannot be set in a file`);
  if (file.path !== undefined && typeof file.path !== 'string') throw new Error('path must be a string');
  const jwt = file.jwt ?? {};
  // `readEnvironment` refuses a missing secret in production.
  const secret = variables.JWT_SECRET || (variables.NODE_ENV === 'production' ? undefined : randomSecret());
  const jwtDefaults = {
    ...(isObject(jwt) && jwt.keys === undefined && jwt.managed === undefined && { secret }),
    ...(djangoCompat && { userIdClaim: 'user_id' }),
  };
  return {
    // Without one, the page and any client may log in. A secret key is for back ends only.
    secretKey: variables.SESSION_SECRET_KEY || false,
    // Front ends of Django's package do not store the refresh token of a refresh.
    policies: djangoCompat ? DJANGO_SHORT_AND_LONG : SHORT_AND_LONG,
    // The page at `/` needs cookies for its tokens.
    cookies: true,
    // With 'string', sessions have the text ids of the users.
    userIdType: 'number',
    ...file,
    jwt: isObject(jwt) ? { ...jwtDefaults, ...jwt } : jwt,
  };
}

/** Returns a secret for this process only: its tokens are refused after a restart, and by other processes. */
function randomSecret(): string {
  return randomBytes(32).toString('base64url');
}

function isObject(value: unknown): value is Record<string, unknown> {
  return value !== null && typeof value === 'object' && !Array.isArray(value);
}
