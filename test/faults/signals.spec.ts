import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { BlacklistEntity, SessionEntity, SessionService } from 'nestjs-multisession';
import { DataSource, type DataSourceOptions, In } from 'typeorm';
import { SessionSignalEntity } from '../../lib/session/session-signal.entity.js';
import { SECRET_KEY, SIGNING_SECRET, startApp, type TestApp } from '../helpers/app.js';
import { createDatabase, sharedDatabases } from '../helpers/databases.js';
import { type IdentityProvider, LOGOUT_EVENT, startIdentityProvider } from '../helpers/identity-provider.js';
import { SMALL } from '../helpers/size.js';
import { Victims } from './victims.js';

/** Kills before every statement. A small run skips some. */
const STEP = SMALL ? 4 : 1;
/** More statements than a logout of two sessions sends. */
const MAX_STATEMENTS = 60;
const AUDIENCE = 'the-client-id';

describe.each(sharedDatabases())('%s', (name) => {
  const folder = mkdtempSync(join(tmpdir(), 'signals-'));
  let provider: IdentityProvider;
  let app: TestApp;
  let victims: Victims;
  let drop: () => Promise<void>;

  beforeAll(async () => {
    provider = await startIdentityProvider();
    const created = await createDatabase(name);
    drop = () => created.drop();
    const options: DataSourceOptions =
      name === 'sqlite'
        ? { type: 'better-sqlite3', database: join(folder, 'db'), enableWAL: true, timeout: 10_000 }
        : created.options;
    const { issuer, jwksUri } = provider;
    const module = {
      jwt: { secret: SIGNING_SECRET },
      secretKey: SECRET_KEY,
      policies: { LONG: { refreshTokenLifetime: '1h' as const } },
      signals: true,
      identityProviders: [{ issuer, jwksUri, backChannelLogout: { audience: AUDIENCE } }],
    };
    app = await startApp({ database: { ...created, options }, options: module });
    // Without polls, every statement that is counted belongs to the work.
    victims = new Victims(options, { ...module, revocation: { pollInterval: '1h', maxStaleness: '1h' } });
  });
  afterAll(async () => {
    await victims.stop();
    await app.close();
    await provider.close();
    await drop();
    rmSync(folder, { recursive: true });
  });

  const create = (sid: string) =>
    app.get(SessionService).create('alice', {
      type: 'LONG',
      provider: { issuer: provider.issuer, subject: 'alice', sid },
    });
  const logout = async (token: string) => {
    const headers = { 'content-type': 'application/x-www-form-urlencoded' };
    const body = new URLSearchParams({ logout_token: token }).toString();
    return (await app.request('POST', '/api/session/signals/logout', { body, headers })).status;
  };

  test(
    'a process is killed between the record of a signal and its end: another one finishes it when it comes again',
    async () => {
      const { manager } = app.get(DataSource);
      /** Kills that left a signal without its end. */
      let halfDone = 0;
      let isFinished = false;
      for (let killBefore = 1; !isFinished && killBefore <= MAX_STATEMENTS; killBefore += STEP) {
        const sid = `sid-${killBefore}`;
        const ids = [await create(sid), await create(sid)].map(({ session }) => session.id);
        const claims = { sid, aud: AUDIENCE, events: { [LOGOUT_EVENT]: {} } };
        const token = await provider.sign(claims, { typ: 'logout+jwt' });
        isFinished = (await victims.kill({ operation: 'signal', token }, killBefore)) !== undefined;

        const isRecorded = await manager.existsBy(SessionSignalEntity, { handled: 0 });
        const left = await manager.countBy(SessionEntity, { id: In(ids) });
        if (isRecorded && left > 0) halfDone++;
        // The provider was not answered, so it sends the signal again, to whatever process.
        expect([killBefore, await logout(token)]).toEqual([killBefore, isFinished ? 400 : 200]);
        expect(await manager.countBy(SessionEntity, { id: In(ids) })).toBe(0);
        const entries = await manager.findBy(BlacklistEntity, { sessionId: In(ids) });
        expect(entries.map(({ reason }) => reason)).toEqual(['identity-provider', 'identity-provider']);
        expect(await manager.existsBy(SessionSignalEntity, { handled: 0 })).toBe(false);
        // Now the signal has done its work, and no login at that session of the provider comes after it.
        expect(await logout(token)).toBe(400);
        await expect(create(sid)).rejects.toMatchObject({ status: 503 });
        expect(await manager.countBy(SessionEntity, { userId: 'alice' })).toBe(0);
      }
      expect(isFinished).toBe(true);
      expect(halfDone).toBeGreaterThan(0);
    },
    MAX_STATEMENTS * 20_000,
  );
});
