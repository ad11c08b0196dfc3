import { type MultiSessionOptions, SHORT_AND_LONG } from 'nestjs-multisession';
import { DEMO_JWT_SECRET, DEMO_SECRET_KEY } from './demo.js';

/** The module's options and the prefix of its routes. */
export type SessionOptions = MultiSessionOptions & { path?: string };

/** Options that only the code of this application sets. */
const SET_BY_CODE = ['authenticator', 'controller', 'dataSource', 'imports', 'isGlobal', 'sessionTypes', 'userIdType'];

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
  const secret = variables.JWT_SECRET || DEMO_JWT_SECRET;
  const jwtDefaults = {
    ...(isObject(jwt) && jwt.keys === undefined && jwt.managed === undefined && { secret }),
    ...(djangoCompat && { userIdClaim: 'user_id' }),
  };
  return {
    secretKey: variables.SESSION_SECRET_KEY || DEMO_SECRET_KEY,
    policies: SHORT_AND_LONG,
    // The page at `/` needs cookies for its tokens.
    cookies: true,
    ...file,
    jwt: isObject(jwt) ? { ...jwtDefaults, ...jwt } : jwt,
    userIdType: 'number',
  };
}

function isObject(value: unknown): value is Record<string, unknown> {
  return value !== null && typeof value === 'object' && !Array.isArray(value);
}
