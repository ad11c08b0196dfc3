import { describe, expect, test } from '@jest/globals';
import {
  ImportDatabaseError,
  type ImportOptions,
  ImportOptionsError,
  importSessions,
  type LegacySystem,
} from '../../../lib/import/index.js';

describe('the options of the import', () => {
  const options = { system: 'simplejwt-multisessions', from: 'old.sqlite', to: 'new.sqlite' } as const;
  const faultsOf = async (more: Partial<ImportOptions>) => {
    const error: unknown = await importSessions({ ...options, ...more }).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(ImportOptionsError);
    return (error as ImportOptionsError).faults;
  };

  test('are checked before a database is opened, and all faults are named', async () => {
    expect(await faultsOf({ system: 'kratos' as LegacySystem })).toEqual([
      expect.stringMatching(/^system: must be one of simplejwt-multisessions, .*; got "kratos"$/),
    ]);
    expect(await faultsOf({ from: 'oracle://x', to: '', batchSize: 0, type: 'LONG', types: { short: 'X' } })).toEqual([
      expect.stringMatching(/^from: must begin with .*; got oracle:…$/),
      'to: must not be empty',
      'batchSize: must be a whole number from 1 to 1000; got 0',
      'type: simplejwt-multisessions has types of its own; use types instead',
      'types: policies has no type "X"; it has SHORT, LONG, DEVICE',
    ]);
    expect(await faultsOf({ config: { policies: { SHORT: { refreshTokenLifetime: 'soon' as '1d' } } } })).toEqual([
      expect.stringMatching(/^config: policies.SHORT.refreshTokenLifetime/),
    ]);
    expect(await faultsOf({ system: 'drf-jwt-devices', types: { short: 'SHORT' }, type: 'PHONE' })).toEqual([
      'types: drf-jwt-devices has no types; use type instead',
      'type: policies has no type "PHONE"; it has SHORT, LONG, DEVICE',
    ]);
  });

  test('a database that does not exist is reported without its password', async () => {
    const missing = { ...options, from: 'postgres://user:hunter2@127.0.0.1:1/none' };
    const error: unknown = await importSessions(missing).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(ImportDatabaseError);
    expect(String((error as Error).stack)).toMatch(/from: cannot connect/);
    expect(String((error as Error).stack)).not.toContain('hunter2');
    await expect(importSessions(options)).rejects.toThrow(/from: cannot connect/);
  });
});
