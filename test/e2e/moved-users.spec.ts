import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from '@jest/globals';
import { codeBlocks } from '../docs/documents.js';
import { importSessions } from '../../lib/import/index.js';
import { selectedDatabases } from '../helpers/databases.js';
import { openOldDatabase, readOldTokens } from '../helpers/old-systems.js';
import { SAMPLE_SECRET_KEY, startSampleApp } from '../helpers/sample-app.js';

/* The sample application moves in next to Django's tables: one database, whose users the documented statements copy. */

const closers: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

/** The documented statements that move the users. */
const statementsOf = () => {
  const [block] = codeBlocks(['docs/coming-from-django.md']).filter(({ language }) => language === 'sql');
  return block.text.split(';').filter((text) => text.trim() !== '');
};

test('the guide copies the users, and gives the next one a free id', () => {
  expect(statementsOf().some((statement) => /INSERT INTO app_user/i.test(statement))).toBe(true);
  expect(statementsOf().some((statement) => /setval/i.test(statement))).toBe(true);
});

if (selectedDatabases().includes('postgres'))
  describe('the sample application in the database of Django', () => {
    test('has the users, their passwords and their sessions, and can add users', async () => {
      const old = await openOldDatabase('simplejwt-multisessions-rotated');
      closers.push(() => old.drop());
      const folder = await mkdtemp(join(tmpdir(), 'moved-users-'));
      closers.push(() => rm(folder, { recursive: true }));
      const file = join(folder, 'session-config.json');
      const policies = { SHORT: { refreshTokenLifetime: '5y' }, LONG: { refreshTokenLifetime: '10y' } };
      const signingKey = 'import-django-secret-key-4f1d9e0b7c2a';
      const legacyTokens = [{ system: 'simplejwt-multisessions', signingKey }];
      await writeFile(file, JSON.stringify({ policies, legacyTokens }));
      const variables = { DATABASE_URL: old.url, SESSION_CONFIG: file, THROTTLE: 'off' };
      const app = await startSampleApp({ ...variables, DEMO_USERS: '[]' });
      closers.push(() => app.stop());

      for (const statement of statementsOf()) await old.run(statement);
      const system = 'simplejwt-multisessions';
      expect(await importSessions({ system, from: old.url, to: old.url, config: { policies } as never })).toMatchObject(
        {
          failed: 0,
        },
      );

      const post = (path: string, body: object) =>
        app.post(`/api/session/${path}`, { secret_key: SAMPLE_SECRET_KEY, info: 'a test', ...body });
      const users = await readOldTokens('simplejwt-multisessions-rotated');
      for (const { username, password, active } of users.slice(0, 6)) {
        const { status } = await post('login/', { username, password, session: 'LONG' });
        expect({ username, status }).toEqual({ username, status: active ? 200 : 401 });
      }
      const live = users.flatMap(({ tokens }) => tokens).filter(({ state }) => state === 'live');
      for (const { refresh, session } of live.slice(0, 5))
        expect((await post('refresh/', { refresh, session })).status).toBe(200);

      const added = { username: 'added', password: 'a password of a new user' };
      const second = await startSampleApp({ ...variables, DEMO_USERS: JSON.stringify([added]) });
      closers.push(() => second.stop());
      expect((await post('login/', { ...added, session: 'LONG' })).status).toBe(200);
    });
  });
