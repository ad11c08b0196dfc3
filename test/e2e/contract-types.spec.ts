import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { ROOT } from '../docs/documents.js';
import { typeErrors } from '../docs/program.js';

describe('the compiler refuses', () => {
  const CHANGES: [what: string, path: string, from: string, to: string, error: RegExp][] = [
    [
      'a renamed handler',
      'lib/http/sessions.controller.ts',
      'async login(',
      'async logIn(',
      /incorrectly implements.*Property 'login' is missing/s,
    ],
    [
      'a renamed handler of a contract elsewhere',
      'lib/admin/admin-sessions.controller.ts',
      'async endAll(',
      'async endEverything(',
      /incorrectly implements.*Property 'endAll' is missing/s,
    ],
    [
      'a route that is not in the contract',
      'lib/http/session-management.controller.ts',
      "@ManagementRoute('endOthers')",
      "@ManagementRoute('endMine')",
      /"endMine".*is not assignable/,
    ],
    [
      'a handler that takes another body',
      'lib/http/sessions.controller.ts',
      'async destroy(\n    @ValidBody() body: DestroyDto',
      'async destroy(\n    @ValidBody() body: DestroyDto & LoginDto',
      /'destroy'.*is not assignable.*LoginDto/s,
    ],
    [
      'a handler that answers something else',
      'lib/compat/drf-jwt-devices/devices.controller.ts',
      'async refresh(@Req() request: CredentialsCarrier): Promise<DeviceTokenAnswer>',
      'async refresh(@Req() request: CredentialsCarrier): Promise<{ access: string }>',
      /'refresh'.*is not assignable.*'token' is missing/s,
    ],
    [
      'a contract with another body',
      'lib/http/contract.ts',
      'body: VerifyDto',
      'body: DeleteListDto',
      /'verify'.*is not assignable.*'DeleteListDto'/s,
    ],
    [
      'an error code that does not exist',
      'lib/http/contract.ts',
      "409: ['session_limit_reached']",
      "409: ['session_limit_reached', 'too_many_sessions']",
      /"too_many_sessions"/,
    ],
  ];
  const FILES = [
    'lib/http/contract.ts',
    'lib/http/sessions.controller.ts',
    'lib/http/session-management.controller.ts',
    'lib/admin/admin-sessions.controller.ts',
    'lib/compat/drf-jwt-devices/devices.controller.ts',
  ];
  const textOf = (path: string) => readFileSync(join(ROOT, path), 'utf8');
  /** Type-checks the files with one of them changed. */
  const errorsWith = (changed: string, text: string) =>
    typeErrors(new Map(FILES.map((path) => [join(ROOT, path), path === changed ? text : textOf(path)]))).join('\n');

  test('nothing in the contract and the controllers as they are', () => {
    expect(errorsWith('', '')).toBe('');
  });

  test.each(CHANGES)('%s', (_what, path, from, to, error) => {
    expect(textOf(path)).toContain(from);
    expect(errorsWith(path, textOf(path).replace(from, to))).toMatch(error);
  });
});
