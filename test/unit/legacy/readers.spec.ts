import { createSecretKey } from 'node:crypto';
import { describe, expect, test } from '@jest/globals';
import { JwtService, type JwtSignOptions } from '@nestjs/jwt';
import { DeviceTokenReader } from '../../../lib/legacy/device-token.js';
import { LookupTokens } from '../../../lib/legacy/lookup-token.js';
import type { LegacyTokenConfig } from '../../../lib/legacy/options.js';
import { SimpleJwtReader } from '../../../lib/legacy/simplejwt-token.js';
import { SuperTokensReader } from '../../../lib/legacy/supertokens-token.js';
import { readOldTokens } from '../../helpers/old-systems.js';

const jwt = new JwtService();
const KEY = 'import-django-secret-key-4f1d9e0b7c2a';
const SUPERTOKENS_KEY =
  'dgtPLMsxkNsSGE3WIGBkCDlfOh5DW+9/aWOHnclAw9IXF61HFN5Bi6bU/Arg5b+ccXVvJF9VuRjaiwhzWlj/HVFLCESltTPROhEhgzQI7C1Xa6DkJk/qU3xO4MbOsyu4j0ZHng==';

function configOf(system: LegacyTokenConfig['system'], signingKey: string): LegacyTokenConfig {
  const verifyingKey = createSecretKey(signingKey, 'utf8');
  return {
    system,
    signingKey,
    verifyingKey,
    algorithm: 'HS256',
    userIdClaim: 'user_id',
    until: Infinity,
    replaceAtFirstUse: false,
  };
}

/** Changes one character of a text, also in the middle of it. */
function* changesOf(text: string): Generator<string> {
  for (let at = 0; at < text.length; at += 7) {
    const other = text[at] === 'A' ? 'B' : 'A';
    yield text.slice(0, at) + other + text.slice(at + 1);
  }
  yield text.slice(0, -1);
  yield `${text}A`;
  yield ` ${text}`;
}

describe('simplejwt_multisessions', () => {
  const reader = new SimpleJwtReader(configOf('simplejwt-multisessions', KEY));
  const jti = 'a'.repeat(32);
  const claims = { token_type: 'refresh', exp: 1, iat: 1, jti, user_id: 1 };
  const sign = (payload: object, options: JwtSignOptions = {}, key = KEY) =>
    jwt.sign(payload, { secret: key, ...options });

  test('reads refresh tokens, and no access tokens', async () => {
    for (const { refresh, access } of (await readOldTokens('simplejwt-multisessions')).flatMap(
      ({ tokens }) => tokens,
    )) {
      expect(reader.read(refresh)).toMatchObject({ foundBy: { token: expect.stringMatching(/^[0-9a-f]{32}$/) } });
      expect(reader.read(access)).toBeUndefined();
      for (const changed of changesOf(refresh)) expect(reader.read(changed)).toBeUndefined();
    }
  });

  test('does not check the expiry, which is in the row', () => {
    expect(reader.read(sign(claims))).toEqual({ foundBy: { token: jti }, tokenKey: jti, userId: 1 });
  });

  test.each([
    ['another key', sign(claims, {}, 'another key')],
    ['another algorithm', sign(claims, { algorithm: 'HS512' })],
    [
      'no signature',
      `${sign(claims)
        .replace(/^[^.]*/, Buffer.from('{"alg":"none"}').toString('base64url'))
        .replace(/[^.]*$/, '')}`,
    ],
    ['a token of ours, signed with the same key', sign({ ...claims, sid: 'a session' })],
    ['no jti', sign({ ...claims, jti: undefined })],
    ['a jti of another form', sign({ ...claims, jti: 'A'.repeat(32) })],
    ['no user', sign({ ...claims, user_id: undefined })],
    ['a user of another type', sign({ ...claims, user_id: [1] })],
    ['an access token', sign({ ...claims, token_type: 'access' })],
    ['a text', jwt.sign('a text', { secret: KEY })],
    ['nothing', ''],
  ])('refuses %s', (_, text) => {
    expect(reader.read(text)).toBeUndefined();
  });
});

describe('drf-jwt-devices', () => {
  test('reads permanent tokens', async () => {
    const reader = new DeviceTokenReader();
    for (const { permanent_token: token } of (await readOldTokens('other-systems')).jwt_devices) {
      expect(reader.read(token)).toEqual({ foundBy: { token }, tokenKey: token });
      for (const text of [token.slice(1), `${token}0`, token.toUpperCase(), `${token}\n`])
        expect(reader.read(text)).toBeUndefined();
    }
  });
});

describe('supertokens-django-ref-jwt', () => {
  const reader = new SuperTokensReader(configOf('supertokens-django-ref-jwt', SUPERTOKENS_KEY));

  test('decrypts the tokens', async () => {
    for (const { refresh, superseded, handle, user_id: userId, state } of (await readOldTokens('other-systems'))
      .supertokens) {
      const token = reader.read(refresh);
      expect(token).toMatchObject({ foundBy: { oldKey: handle }, userId });
      expect(token?.parentTokenKey !== undefined).toBe(state.startsWith('successor'));
      if (superseded !== undefined) expect(reader.read(superseded)?.tokenKey).toBe(token?.parentTokenKey);
    }
  });

  test('refuses a token that was changed or encrypted with another key', async () => {
    const [{ refresh, ...token }] = (await readOldTokens('other-systems')).supertokens;
    const other = new SuperTokensReader(configOf('supertokens-django-ref-jwt', `${SUPERTOKENS_KEY} `));
    expect(other.read(refresh)).toBeUndefined();
    expect(reader.read((token as unknown as { access: string }).access)).toBeUndefined();
    // The 16 characters between salt and tag are not used. The nonce after the dot is compared.
    const [encrypted, nonce] = refresh.split('.');
    const inside = Buffer.from(encrypted, 'base64').toString('latin1');
    for (const changed of changesOf(inside)) {
      const isUnused =
        changed.length === inside.length &&
        changed.slice(0, 64) === inside.slice(0, 64) &&
        changed.slice(80) === inside.slice(80);
      const text = `${Buffer.from(changed, 'latin1').toString('base64')}.${nonce}`;
      if (!isUnused) expect(reader.read(text)).toBeUndefined();
    }
    for (const changed of changesOf(nonce)) expect(reader.read(`${encrypted}.${changed}`)).toBeUndefined();
    for (const text of ['', '.', `.${nonce}`, encrypted, `${refresh}.${nonce}`, `${'A'.repeat(10_000)}.${nonce}`])
      expect(reader.read(text)).toBeUndefined();
  });
});

describe('django-token-manager', () => {
  const KEY_OF_OTHERS = 'import-other-systems-secret-key-71c2';
  let now = Date.now();
  const config = { ...configOf('django-token-manager', KEY_OF_OTHERS), until: now + 1000 };
  const tokens = new LookupTokens(config, undefined as never, () => now);
  const sign = (payload: object) => jwt.sign(JSON.stringify(payload), { secret: KEY_OF_OTHERS });
  const claims = { lookup_id: 1, user_id: 2, username: 'a user', exp: 9_999_999_999, email: '' };

  test('verifies the tokens until the given time', async () => {
    for (const { token, lookup_id: id, user_id: userId } of (await readOldTokens('other-systems')).token_manager) {
      expect(tokens.verify(token)).toMatchObject({ oldKey: String(id), userId });
      for (const changed of changesOf(token)) expect(tokens.verify(changed)).toBeUndefined();
    }
    expect(tokens.verify(sign(claims))).toBeDefined();
    now += 1000;
    expect(tokens.verify(sign(claims))).toBeUndefined();
    now -= 1000;
  });

  test.each([
    ['no lookup_id', { ...claims, lookup_id: undefined }],
    ['a lookup_id of another type', { ...claims, lookup_id: '1' }],
    ['no user', { ...claims, user_id: undefined }],
    ['no expiry', { ...claims, exp: undefined }],
    ['a token of ours', { ...claims, sid: 'a session' }],
  ])('refuses %s', (_, payload) => {
    expect(tokens.verify(sign(payload))).toBeUndefined();
  });
});
