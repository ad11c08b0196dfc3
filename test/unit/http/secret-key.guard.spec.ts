import { describe, expect, test } from '@jest/globals';
import { ExecutionContextHost } from '@nestjs/core/helpers/execution-context-host.js';
import { SecretKeyGuard, SecretKeyInvalidError } from 'nestjs-multisession';
import { configOf } from '../../helpers/options.js';

const guardOf = (secretKey: string | string[] | false) => new SecretKeyGuard(configOf({ secretKey }).http);

function passes(guard: SecretKeyGuard, request: object): boolean {
  try {
    return guard.canActivate(new ExecutionContextHost([request]));
  } catch (error) {
    expect(error).toBeInstanceOf(SecretKeyInvalidError);
    return false;
  }
}

const inBody = (secret_key: unknown) => ({ headers: {}, body: { secret_key } });
const inHeader = (key: string | string[]) => ({ headers: { 'x-secret-key': key }, body: {} });

describe('SecretKeyGuard', () => {
  const guard = guardOf(['the new key', 'the old key']);

  test.each([inBody('the new key'), inBody('the old key'), inHeader('the new key'), inHeader('the old key')])(
    'lets %j pass',
    (request) => {
      expect(passes(guard, request)).toBe(true);
    },
  );

  test.each([
    {},
    { headers: {} },
    { headers: {}, body: null },
    { headers: {}, body: 'the new key' },
    { headers: {}, body: ['the new key'] },
    inBody(undefined),
    inBody(null),
    inBody(''),
    inBody('the new ke'),
    inBody('the new key '),
    inBody('The new key'),
    inBody(['the new key']),
    inBody({ toString: 'the new key' }),
    inBody(true),
    inHeader(''),
    inHeader('wrong'),
    inHeader(['the new key', 'the new key']),
    // A header takes precedence over the body.
    { headers: { 'x-secret-key': 'wrong' }, body: { secret_key: 'the new key' } },
  ])('refuses %j', (request) => {
    expect(passes(guard, request)).toBe(false);
  });

  test('compares the bytes of a key, in any script', () => {
    const unicode = guardOf('schlüssel 🔑');
    expect(passes(unicode, inBody('schlüssel 🔑'))).toBe(true);
    expect(passes(unicode, inBody('schlüssel 🔑'.normalize('NFD')))).toBe(false);
  });

  test('lets every caller pass if the option is false', () => {
    for (const request of [{}, inBody('anything'), inHeader('anything')])
      expect(passes(guardOf(false), request)).toBe(true);
  });
});
