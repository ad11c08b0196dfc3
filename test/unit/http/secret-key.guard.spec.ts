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
  const guard = guardOf(['the new secret key', 'the old secret key']);

  test.each([
    inBody('the new secret key'),
    inBody('the old secret key'),
    inHeader('the new secret key'),
    inHeader('the old secret key'),
  ])('lets %j pass', (request) => {
    expect(passes(guard, request)).toBe(true);
  });

  test.each([
    {},
    { headers: {} },
    { headers: {}, body: null },
    { headers: {}, body: 'the new secret key' },
    { headers: {}, body: ['the new secret key'] },
    inBody(undefined),
    inBody(null),
    inBody(''),
    inBody('the new secret ke'),
    inBody('the new secret key '),
    inBody('The new secret key'),
    inBody(['the new secret key']),
    inBody({ toString: 'the new secret key' }),
    inBody(true),
    inHeader(''),
    inHeader('wrong'),
    inHeader(['the new secret key', 'the new secret key']),
    // A header takes precedence over the body.
    { headers: { 'x-secret-key': 'wrong' }, body: { secret_key: 'the new secret key' } },
  ])('refuses %j', (request) => {
    expect(passes(guard, request)).toBe(false);
  });

  test('compares the bytes of a key, in any script', () => {
    const unicode = guardOf('langer schlüssel 🔑🔑');
    expect(passes(unicode, inBody('langer schlüssel 🔑🔑'))).toBe(true);
    expect(passes(unicode, inBody('langer schlüssel 🔑🔑'.normalize('NFD')))).toBe(false);
  });

  test('lets every caller pass if the option is false', () => {
    for (const request of [{}, inBody('anything'), inHeader('anything')])
      expect(passes(guardOf(false), request)).toBe(true);
  });
});
