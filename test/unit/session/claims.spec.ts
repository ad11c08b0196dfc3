import { describe, expect, jest, test } from '@jest/globals';
import { MultiSessionConfigurationError, SessionDataError } from '../../../lib/errors.js';
import { OptionFaults } from '../../../lib/option-check.js';
import type { AuthenticatedUser, UserAuthenticator } from '../../../lib/session/authenticator.js';
import { ApplicationClaims, MAX_CLAIMS_BYTES } from '../../../lib/session/claims.js';
import { SessionEntity } from '../../../lib/session/session.entity.js';
import type { Claims } from '../../../lib/token/claims.js';
import { type JwtOptions, readTokenOptions } from '../../../lib/token/options.js';

const SECRET = 'a signing secret of more than thirty-two bytes';

function claimsFor(
  users: Partial<UserAuthenticator> | null = null,
  jwt: Partial<JwtOptions> = {},
  userIdType: 'string' | 'number' = 'string',
): ApplicationClaims {
  const faults = new OptionFaults();
  const config = readTokenOptions({ secret: SECRET, ...jwt }, userIdType, faults);
  expect(faults.list).toEqual([]);
  return new ApplicationClaims(config, () => users);
}

const row = Object.assign(new SessionEntity(), {
  id: '0190b8a4-0000-7000-8000-000000000001',
  userId: '42',
  type: 'LONG',
  claims: { role: 'user', amr: ['pwd'] },
});

describe('check', () => {
  const RESERVED = ['iss', 'aud', 'exp', 'nbf', 'iat', 'sid', 'gen', 'session_type', 'auth_time', 'amr'];

  test.each([...RESERVED, 'sub', 'token_type', 'jti'])('refuses the name %s, which the library writes', (name) => {
    expect(() => claimsFor().check({ role: 'admin', [name]: 'x' })).toThrow(MultiSessionConfigurationError);
    expect(() => claimsFor().check({ role: 'admin', [name]: 'x' })).toThrow(new RegExp(`claims: .*\\b${name}\\b`));
  });

  test('names every reserved name that was used, and no other', () => {
    expect(() => claimsFor().check({ role: 1, exp: 2, sid: 3 })).toThrow(/exp, sid/);
    expect(() => claimsFor().check({ role: 1, exp: 2, sid: 3 })).not.toThrow(/role/);
  });

  test('reserves the names that the options choose', () => {
    const claims = claimsFor(null, { userIdClaim: 'user_id', tokenTypeClaim: 'kind', jtiClaim: 'id' });
    for (const name of ['user_id', 'kind', 'id', 'sub'])
      expect(() => claims.check({ [name]: 'x' })).toThrow(MultiSessionConfigurationError);
    expect(() => claims.check({ jti: 'x', token_type: 'x' })).not.toThrow();
  });

  test('accepts no claims, and any other JSON', () => {
    expect(() => claimsFor().check()).not.toThrow();
    expect(() => claimsFor().check({ roles: ['admin'], nested: { exp: 1 } })).not.toThrow();
  });

  test('accepts 4 KiB as JSON and refuses one byte more', () => {
    const sized = (bytes: number) => ({ text: 'x'.repeat(bytes - '{"text":""}'.length) });
    expect(() => claimsFor().check(sized(MAX_CLAIMS_BYTES))).not.toThrow();
    expect(() => claimsFor().check(sized(MAX_CLAIMS_BYTES + 1))).toThrow(/^claims: .*4097 .*4096/);
  });

  test('refuses what JSON cannot represent', () => {
    expect(() => claimsFor().check({ at: new Date() })).toThrow(SessionDataError);
  });
});

describe('userOf', () => {
  const buildClaims = () => ({});

  test('is the id alone if no claims are built from the user', async () => {
    const findActive = jest.fn(() => Promise.resolve({ id: '42', name: 'Alice' }));
    expect(await claimsFor(null).userOf(row)).toEqual({ id: '42' });
    expect(await claimsFor({ findActive }).userOf(row)).toEqual({ id: '42' });
    expect(findActive).not.toHaveBeenCalled();
  });

  test('asks findActive, with the id in the type that the application uses', async () => {
    const findActive = jest.fn((id: string | number) => Promise.resolve({ id, name: 'Alice' } as AuthenticatedUser));
    expect(await claimsFor({ buildClaims, findActive }, {}, 'number').userOf(row)).toEqual({ id: 42, name: 'Alice' });
    expect(findActive.mock.calls).toEqual([[42]]);
  });

  test('is the id alone if there is no findActive, or it knows no such user', async () => {
    expect(await claimsFor({ buildClaims }).userOf(row)).toEqual({ id: '42' });
    const findActive = () => Promise.resolve(null);
    expect(await claimsFor({ buildClaims, findActive }).userOf(row)).toEqual({ id: '42' });
  });
});

describe('build', () => {
  const user = { id: '42' };

  test('is undefined without buildClaims', async () => {
    expect(await claimsFor(null).build(row, user)).toBeUndefined();
    expect(await claimsFor({}).build(row, user)).toBeUndefined();
  });

  test('hands over the session as applications see it, and the user', async () => {
    const buildClaims = jest.fn((): Claims => ({ role: 'admin' }));
    expect(await claimsFor({ buildClaims }).build(row, user)).toEqual({ role: 'admin' });
    const [[session, given]] = buildClaims.mock.calls as unknown as [[object, object]];
    expect(session).toMatchObject({ id: row.id, userId: '42', type: 'LONG', claims: { role: 'user' }, amr: ['pwd'] });
    expect(session).not.toHaveProperty('refreshJti');
    expect(given).toBe(user);
  });

  test.each([
    ['a reserved name', { exp: 1 }, MultiSessionConfigurationError],
    ['too many bytes', { text: 'x'.repeat(MAX_CLAIMS_BYTES) }, SessionDataError],
    ['a value that is not JSON', { at: new Date() }, SessionDataError],
  ])('checks what was built: %s', async (_, built, error) => {
    await expect(claimsFor({ buildClaims: () => Promise.resolve(built) }).build(row, user)).rejects.toThrow(error);
  });

  test('passes on what buildClaims throws', async () => {
    const failure = new Error('the roles cannot be read');
    const users = { buildClaims: () => Promise.reject(failure) };
    await expect(claimsFor(users).build(row, user)).rejects.toBe(failure);
  });
});
