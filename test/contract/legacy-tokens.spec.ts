import { createCipheriv, createHash, pbkdf2Sync, randomBytes } from 'node:crypto';
import { Logger } from '@nestjs/common';
import { JwtService } from '@nestjs/jwt';
import { afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import type { DataSource } from 'typeorm';
import { createEngine, type Engine } from '../../lib/engine/engine.js';
import { type MultiSessionOptions, readOptions } from '../../lib/engine/options.js';
import { SessionNotFoundError, TokenNotValidError } from '../../lib/errors.js';
import { importSessions } from '../../lib/import/index.js';
import type { LegacyTokenOptions } from '../../lib/legacy/options.js';
import { createDatabase, type TestDatabase } from '../helpers/databases.js';
import { onEachDatabase } from '../helpers/matrix.js';
import { type OldDatabase, type OldDatabaseName, openOldDatabase, readOldTokens } from '../helpers/old-systems.js';
import { StatementLog } from '../helpers/statement-log.js';
import { decoded } from '../helpers/tokens.js';
import { JWT_SECRET, openDataSource, REVOCATION, setClock } from './process.js';

const SIMPLEJWT = {
  system: 'simplejwt-multisessions',
  signingKey: 'import-django-secret-key-4f1d9e0b7c2a',
} as const satisfies LegacyTokenOptions;
const SUPERTOKENS_KEY =
  'dgtPLMsxkNsSGE3WIGBkCDlfOh5DW+9/aWOHnclAw9IXF61HFN5Bi6bU/Arg5b+ccXVvJF9VuRjaiwhzWlj/HVFLCESltTPROhEhgzQI7C1Xa6DkJk/qU3xO4MbOsyu4j0ZHng==';
const SUPERTOKENS = { system: 'supertokens-django-ref-jwt', signingKey: SUPERTOKENS_KEY } as const;

const LIVE_LONG = { refreshTokenLifetime: '10y' } as const;
const ROTATED = { SHORT: LIVE_LONG, LONG: LIVE_LONG } as const;
const KEPT_POLICY = { refreshTokenLifetime: '10y', rotateRefreshTokens: false, updateLastLogin: true } as const;
const KEPT = { SHORT: KEPT_POLICY, LONG: KEPT_POLICY } as const;

const sha256 = (text: string) => createHash('sha256').update(text).digest('hex');

/** Makes a token as supertokens-django-ref-jwt does. */
function superToken(sessionHandle: string, userId: string | number, prt: string | null = null): string {
  const nonce = randomBytes(32).toString('hex');
  const salt = randomBytes(32).toString('hex');
  const key = createHash('md5').update(pbkdf2Sync(SUPERTOKENS_KEY, salt, 32, 100, 'sha256').toString('base64'));
  const iv = randomBytes(16);
  const cipher = createCipheriv('aes-256-gcm', key.digest('hex'), iv);
  const plain = JSON.stringify({ sessionHandle, userId, prt, nonce });
  const encrypted = cipher.update(plain, 'utf8', 'base64') + cipher.final('base64');
  const parts = [salt, 'not-used-16-char', cipher.getAuthTag().toString('base64'), iv.toString('base64'), encrypted];
  return `${Buffer.from(parts.join('')).toString('base64')}.${nonce}`;
}

onEachDatabase((name) => {
  let database: TestDatabase;
  let dataSource: DataSource;
  let log: StatementLog;
  let engine: Engine;
  const old: OldDatabase[] = [];
  const events: string[] = [];

  beforeAll(() => Logger.overrideLogger(false));
  beforeEach(async () => {
    database = await createDatabase(name);
    log = new StatementLog();
    dataSource = await openDataSource(database, { synchronize: true, logging: true, logger: log });
  });
  afterEach(async () => {
    for (const source of old.splice(0)) await source.drop();
    await engine.push.stop();
    await engine.poller.stop();
    await dataSource.destroy();
    await database.drop();
  });

  /** Imports the sessions of an old system, and starts an engine that accepts its tokens. */
  async function moveIn(
    source: OldDatabaseName,
    legacyTokens: LegacyTokenOptions,
    options: Pick<MultiSessionOptions, 'policies' | 'userIdType'>,
  ): Promise<void> {
    const opened = await openOldDatabase(source);
    old.push(opened);
    const { system } = legacyTokens;
    await importSessions({ system, from: opened.url, to: dataSource, config: { secretKey: false, ...options } });
    start(legacyTokens, options);
    await engine.epochs.load();
  }

  function start(
    legacyTokens: LegacyTokenOptions,
    options: Pick<MultiSessionOptions, 'policies' | 'userIdType'>,
  ): void {
    const all = { jwt: { secret: JWT_SECRET }, secretKey: false as const, legacyTokens: [legacyTokens], ...options };
    const config = readOptions(all, Object.keys(options.policies));
    engine = createEngine({ ...config, revocation: { ...REVOCATION, maxStaleness: 3_600_000 } }, dataSource);
    setClock(engine);
    events.splice(0);
    for (const event of ['session.refreshed', 'session.ended', 'refresh.reused', 'refresh.recovered'] as const)
      engine.events.on(event, () => void events.push(event));
  }

  const refresh = (token: string) => engine.sessions.refresh(token);
  const unknown = (token: string) => expect(refresh(token)).rejects.toBeInstanceOf(SessionNotFoundError);
  const theft = async (token: string) => {
    events.splice(0);
    await expect(refresh(token)).rejects.toBeInstanceOf(TokenNotValidError);
    expect(events).toEqual(['session.ended', 'refresh.reused']);
  };
  const passGrace = () =>
    dataSource.query('UPDATE user_session SET rotated_at = rotated_at - 60000 WHERE rotated_at > 0');

  describe('SuperTokens', () => {
    const tokensOf = async (state: string) => {
      const { supertokens } = await readOldTokens('other-systems');
      const found = supertokens.filter((token) => token.state.startsWith(state) && typeof token.user_id === 'string');
      expect(found.length).toBeGreaterThan(1);
      return found;
    };
    const userIdType = 'string' as const;

    test('a current token is replaced, and then it is theft', async () => {
      await moveIn('other-systems', SUPERTOKENS, { policies: ROTATED, userIdType });
      for (const { refresh: token, user_id: userId } of await tokensOf('current')) {
        const { refresh: next = '', session } = await refresh(token);
        expect(session.userId).toBe(userId);
        expect((await refresh(token)).refresh).toBe(next);
        await passGrace();
        const { refresh: last = '' } = await refresh(next);
        await theft(token);
        await unknown(last);
      }
    });

    test('the token before the stored one is theft', async () => {
      await moveIn('other-systems', SUPERTOKENS, { policies: ROTATED, userIdType });
      for (const { refresh: token, superseded = '' } of await tokensOf('successor in use')) {
        await refresh(token);
        await theft(superseded);
        await unknown(token);
      }
    });

    test.each([
      ['rotate', ROTATED],
      ['keep', KEPT],
    ])('a successor that was never used is accepted, and its parent is theft then: %s', async (_, policies) => {
      await moveIn('other-systems', SUPERTOKENS, { policies, userIdType });
      for (const { refresh: successor, superseded: parent = '' } of await tokensOf('successor not yet used')) {
        const answers = await Promise.all(Array.from({ length: 5 }, () => refresh(successor)));
        const [next = ''] = [...new Set(answers.map((answer) => answer.refresh))];
        expect(new Set(answers.map((answer) => answer.refresh))).toEqual(new Set([next]));
        await theft(parent);
        await unknown(next);
      }
    });

    test('once the parent has moved on here, its old successor is theft', async () => {
      await moveIn('other-systems', SUPERTOKENS, { policies: ROTATED, userIdType });
      for (const { refresh: successor, superseded: parent = '' } of await tokensOf('successor not yet used')) {
        const { refresh: next = '' } = await refresh(parent);
        await theft(successor);
        await unknown(next);
      }
    });

    test('of two successors, the first one that is used is the right one', async () => {
      await moveIn('other-systems', SUPERTOKENS, { policies: KEPT, userIdType });
      for (const { handle, user_id: userId, refresh: parent } of await tokensOf('current')) {
        const [first, second] = [0, 1].map(() => superToken(handle, userId, sha256(parent)));
        const { refresh: next = '' } = await refresh(first);
        await theft(second);
        await unknown(next);
      }
    });

    test('a token that is neither is theft, and one of another user or session is unknown', async () => {
      await moveIn('other-systems', SUPERTOKENS, { policies: ROTATED, userIdType });
      const [first, second, third] = await tokensOf('current');
      await unknown(superToken(first.handle, second.user_id));
      await unknown(superToken(first.handle, Number(first.user_id)));
      await unknown(superToken('no such session', first.user_id));
      await unknown(`${first.refresh.slice(0, -1)}x`);
      await theft(superToken(first.handle, first.user_id));
      await theft(superToken(second.handle, second.user_id, sha256('another token')));
      await expect(refresh(third.refresh)).resolves.toBeDefined();
    });

    test('an expired token is refused', async () => {
      await moveIn('other-systems', SUPERTOKENS, { policies: ROTATED, userIdType });
      for (const { refresh: token } of await tokensOf('expired')) await unknown(token);
    });
  });

  describe('simplejwt_multisessions', () => {
    const live = async () => {
      const users = await readOldTokens('simplejwt-multisessions');
      return users
        .flatMap(({ tokens, id }) => tokens.map((token) => ({ ...token, id })))
        .filter(({ state }) => state === 'live');
    };
    const numbers = { userIdType: 'number' as const };

    test.each([
      ['rotate', {}],
      ['keep and record', { rotateRefreshTokens: false, updateLastLogin: true }],
      ['keep', { rotateRefreshTokens: false, updateLastLogin: false }],
      ['permanent', { permanent: true, rotateRefreshTokens: undefined }],
    ] as const)('a refresh with an old token costs at most one statement more: %s', async (kind, policy) => {
      const LONG = { refreshTokenLifetime: '10y', ...policy } as const;
      await moveIn('simplejwt-multisessions', SIMPLEJWT, { policies: { SHORT: LIVE_LONG, LONG }, ...numbers });
      await engine.poller.poll();
      const own = (await engine.sessions.create(1, { type: 'LONG' })).refresh;
      // Like an imported row, so that its first refresh has to record as much.
      await dataSource.query('UPDATE user_session SET access_lifetime = NULL');
      const [{ refresh: ofOld }] = (await live()).filter(({ session }) => session === 'LONG');
      for (let time = 0; time < 3; time++) {
        const ours = await log.during(() => refresh(own));
        const theirs = await log.during(() => refresh(ofOld));
        // The statement that finds the session also reads its row, so a token that is kept costs no more than one of ours.
        const more = kind === 'keep' || kind === 'permanent' ? 0 : 1;
        expect(theirs.statements.length).toBeLessThanOrEqual(ours.statements.length + more);
      }
      const none = await log.during(() => refresh('not a token').catch(() => undefined));
      expect(none.statements).toEqual([]);
    });

    test('whoever has the old key and the database can make no token that is accepted', async () => {
      await moveIn('simplejwt-multisessions', SIMPLEJWT, { policies: KEPT, ...numbers });
      const [{ refresh: token, session_id: sessionId, id }] = await live();
      const stored = JSON.stringify([
        await dataSource.query('SELECT * FROM user_session'),
        await dataSource.query('SELECT * FROM session_alias'),
      ]);
      const { jti } = decoded(token, 1) as { jti: string };
      expect(stored).toContain(sessionId);
      expect(stored).not.toContain(jti);
      // The names that the row and the alias have for the token are not its `jti`.
      const hashes = [...new Set(stored.match(/[0-9a-f]{64}|[0-9a-f]{32}/g))];
      const jwt = new JwtService({ secret: SIMPLEJWT.signingKey });
      for (const hash of hashes)
        await unknown(jwt.sign({ token_type: 'refresh', jti: hash.slice(0, 32), user_id: id }, { expiresIn: '1y' }));
      expect(hashes.length).toBeGreaterThan(10);
      await expect(refresh(token)).resolves.toBeDefined();
    });

    test('the database has only hashes of permanent tokens', async () => {
      const DEVICE = { refreshTokenLifetime: '2y', permanent: true } as const;
      await moveIn('other-systems', { system: 'drf-jwt-devices' }, { policies: { DEVICE }, ...numbers });
      const stored = JSON.stringify([
        await dataSource.query('SELECT * FROM user_session'),
        await dataSource.query('SELECT * FROM session_alias'),
      ]);
      for (const { permanent_token: token } of (await readOldTokens('other-systems')).jwt_devices) {
        expect(stored).not.toContain(token);
        // The expiry moves, but the row names no key of ours that could sign the same token again.
        expect((await refresh(token)).refresh).toBeUndefined();
      }
    });

    test('ten parallel refreshes get one successor', async () => {
      await moveIn('simplejwt-multisessions', SIMPLEJWT, { policies: ROTATED, ...numbers });
      const [{ refresh: token }] = await live();
      const answers = await Promise.all(Array.from({ length: 10 }, () => refresh(token)));
      expect(new Set(answers.map((answer) => answer.refresh)).size).toBe(1);
    });

    test('replaceAtFirstUse hands out a new token, even if the policy keeps tokens', async () => {
      await moveIn(
        'simplejwt-multisessions',
        { ...SIMPLEJWT, replaceAtFirstUse: true },
        { policies: KEPT, ...numbers },
      );
      const [{ refresh: token }] = await live();
      const { refresh: next = '' } = await refresh(token);
      expect((await refresh(token)).refresh).toBe(next);
      expect((await refresh(next)).refresh).toBeUndefined();
      await passGrace();
      await refresh(next);
      await theft(token);
    });

    test('without it, the old token is kept, and is never handed out as one of ours', async () => {
      await moveIn('simplejwt-multisessions', SIMPLEJWT, { policies: KEPT, ...numbers });
      const [{ refresh: token }] = await live();
      for (let time = 0; time < 3; time++) expect((await refresh(token)).refresh).toBeUndefined();
      // The application wants a token to deliver, so the session moves on to one of ours.
      const { refresh: next = '' } = await engine.sessions.refresh(token, { withRefreshToken: true });
      expect((await engine.sessions.refresh(next, { withRefreshToken: true })).refresh).toBe(next);
    });

    test('after `until`, and without the option, old tokens are unknown', async () => {
      const past = new Date(Date.now() - 1000).toISOString().slice(0, 19);
      await moveIn('simplejwt-multisessions', { ...SIMPLEJWT, until: `${past}Z` }, { policies: ROTATED, ...numbers });
      const [{ refresh: token }] = await live();
      await unknown(token);
      start({ system: 'drf-jwt-devices' }, { policies: ROTATED, ...numbers });
      await unknown(token);
      start(
        { ...SIMPLEJWT, signingKey: 'another key, which has signed none of the tokens' },
        { policies: ROTATED, ...numbers },
      );
      await unknown(token);
      start({ ...SIMPLEJWT, until: '9999-12-31' }, { policies: ROTATED, ...numbers });
      await expect(refresh(token)).resolves.toBeDefined();
    });

    test('a new epoch outdates them', async () => {
      await moveIn('simplejwt-multisessions', SIMPLEJWT, { policies: ROTATED, ...numbers });
      const [{ refresh: token }] = await live();
      await dataSource.query("UPDATE session_epoch SET epoch = 'replaced by the operator'");
      await engine.epochs.load();
      await engine.database.run((manager) => engine.epochs.poll(manager));
      await unknown(token);
    });

    test('limits, lists, endings and introspection treat the session like any other', async () => {
      const limited = { SHORT: LIVE_LONG, LONG: { ...LIVE_LONG, maxActiveSessions: 2 } };
      await moveIn('simplejwt-multisessions', SIMPLEJWT, { policies: limited, ...numbers });
      const longs = (await live()).filter(({ session, id }) => session === 'LONG' && id === 1);
      expect(longs).toHaveLength(2);
      const introspected = await engine.sessions.introspect(longs[0].refresh);
      expect(introspected).toMatchObject({ use: 'refresh', session: { userId: 1, type: 'LONG' } });
      const list = () => engine.sessions.list(1, { type: 'LONG' });
      expect((await list())[0].available).toBe(0);
      // A login evicts the session that was used least recently.
      await engine.sessions.create(1, { type: 'LONG' });
      const states = await Promise.all(longs.map(({ refresh: token }) => engine.sessions.introspect(token)));
      expect(states.filter((state) => state === null)).toHaveLength(1);
      await engine.sessions.destroyAll(1);
      for (const { refresh: token } of longs) await unknown(token);
    });
  });
});
