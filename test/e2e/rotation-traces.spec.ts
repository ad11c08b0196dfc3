import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { getRepositoryToken } from '@nestjs/typeorm';
import fc from 'fast-check';
import { SessionEntity, type SessionPolicyOptions } from 'nestjs-multisession';
import type { Repository } from 'typeorm';
import type { Engine } from '../../lib/engine/engine.js';
import { ENGINE } from '../../lib/nest/tokens.js';
import type { Verdict } from '../../lib/session/policy.js';
import { type Answer, bearer, SECRET_KEY, startApp, type TestApp } from '../helpers/app.js';
import { selectedDatabases } from '../helpers/databases.js';
import { type RecordedEvent, recordEvents } from '../helpers/events.js';
import { onEachDatabase } from '../helpers/matrix.js';
import { policyOf, type Token } from '../helpers/rotation-model.js';
import {
  agentOf,
  type Expected,
  type ExpectedEvent,
  ModelledSession,
  type Move,
  move,
} from '../helpers/rotation-trace.js';
import { decoded, resigned } from '../helpers/tokens.js';
import { WhoAmI } from '../helpers/who-am-i.js';

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
/** Longer than any trace takes. A trace changes the times of its row to let the grace pass. */
const reuseGrace = '10m';
const POLICIES = {
  ROTATING: { refreshTokenLifetime: '1h', reuseGrace },
  STRICT: { refreshTokenLifetime: '1h', reuseGrace: 0, blacklistAfterRotation: true },
  EXTENDING: { refreshTokenLifetime: '1h', rotateRefreshTokens: false, extendSession: 'every-refresh', reuseGrace },
  LATER: {
    refreshTokenLifetime: '1h',
    rotateRefreshTokens: false,
    extendSession: { whenRemainingBelow: '30m' },
    updateLastLogin: false,
    reuseGrace,
  },
  BOUNDED: { refreshTokenLifetime: '1h', extendSession: 'every-refresh', absoluteLifetime: '3h', reuseGrace },
  PLAIN: { refreshTokenLifetime: '1h', rotateRefreshTokens: false },
} as const satisfies Record<string, SessionPolicyOptions>;
type Type = keyof typeof POLICIES;

/** The number of traces on the first database; on the others, a quarter of them run. A failure prints its seed. Set `TEST_SEED` to repeat it. */
const RUNS = Number(process.env.TEST_RUNS ?? 40);
const SEED = process.env.TEST_SEED === undefined ? undefined : Number(process.env.TEST_SEED);

const REUSE = ['reuse, fork', 'reuse, stale'];
const VERDICTS = ['adopt', 'expired', 'hold', 'keep', 'recover', 'renew', 'replay', ...REUSE, 'rotate'];

onEachDatabase((databaseName) => {
  const isFirst = databaseName === selectedDatabases()[0];
  const runs = isFirst ? RUNS : Math.ceil(RUNS / 4);
  let app: TestApp;
  let rows: Repository<SessionEntity>;
  let events: RecordedEvent[];
  /** How often each verdict occurred. */
  const verdicts = new Map<string, number>();
  const count = (verdict: Verdict) => {
    // Too rare to be found in every run: the database has lost a generation, and a forged token is further ahead.
    if (verdict.kind === 'ahead') return;
    const name = verdict.kind === 'reuse' ? `reuse, ${verdict.reuse}` : verdict.kind;
    verdicts.set(name, (verdicts.get(name) ?? 0) + 1);
  };

  beforeAll(async () => {
    app = await startApp({ databaseName, controllers: [WhoAmI], options: { policies: POLICIES } });
    rows = app.get(getRepositoryToken(SessionEntity) as string);
    events = recordEvents(app);
  });
  afterAll(() => app?.close());

  const type = fc.oneof(
    { weight: 3, arbitrary: fc.constantFrom<Type>('ROTATING', 'STRICT', 'EXTENDING') },
    { weight: 2, arbitrary: fc.constantFrom<Type>('LATER', 'BOUNDED', 'PLAIN') },
  );
  const isBound = fc.oneof({ weight: 3, arbitrary: fc.constant(false) }, fc.constant(true));
  const moves = fc.array(move, { minLength: 1, maxLength: 120, size: 'max' });

  test(
    'random traces over HTTP: each answer, event and row matches the model',
    async () => {
      const property = fc.asyncProperty(type, isBound, moves, async (type, isBound, moves) => {
        const replay = new Replay(type, isBound);
        for (const move of [{ do: 'log in', by: 0 } as const, ...moves]) await replay.take(move);
        await replay.take({ do: 'uses are written' });
      });
      // Without shrinking: each attempt logs in, and a user may have only so many sessions.
      await fc.assert(property, { numRuns: runs, seed: SEED, endOnFailure: true });
      // A verdict that never occurred would not have been tested.
      if (isFirst) expect([...verdicts.keys()].sort()).toEqual(VERDICTS);
    },
    60_000 + runs * 20_000,
  );

  /** Runs a trace on the application and on the model, side by side. */
  class Replay {
    private readonly model: ModelledSession;
    private id = '';
    private row: SessionEntity | null = null;
    /** The row of the previous generation. */
    private before: SessionEntity | null = null;
    /** The text of each token as it was first issued, by the model's id of the token. */
    private texts: string[] = [];
    private accessTokens: string[] = [];

    constructor(
      private readonly type: Type,
      private readonly isBound: boolean,
    ) {
      this.model = new ModelledSession(policyOf(POLICIES[type]), isBound);
    }

    async take(move: Move): Promise<void> {
      events.splice(0);
      const expected = this.model.take(move);
      for (const verdict of [expected.adopted, expected.verdict]) if (verdict) count(verdict);
      if (expected.status === undefined) await this.happen(move.do);
      else this.compareAnswer(expected, await this.ask(move, expected));
      expect(told(events)).toEqual([...expected.events].sort(byName));
      await this.compareRow(expected.isExtended ?? false);
      if (move.do === 'uses are written') expect(this.row?.confirmedGeneration).toBe(this.model.row?.server.confirmed);
    }

    private async ask(move: Move, { token, access }: Expected): Promise<Answer> {
      if (move.do === 'log in') return this.logIn(agentOf(move.by));
      if (access !== undefined) return app.request('GET', '/me', { headers: bearer(this.accessTokens[access]) });
      const by = 'by' in move ? agentOf(move.by) : '';
      const text = this.texts[(token as Token).id];
      const post = (route: string, body: object) =>
        app.post(route, { secret_key: SECRET_KEY, ...body }, { 'user-agent': by });
      if (move.do === 'log out') return post('logout/', { refresh: text });
      if (move.do === 'refresh as another type')
        return post('refresh/', { refresh: text, session: this.another('PLAIN') });
      if (move.do !== 'refresh with a forged token') return post('refresh/', { refresh: text, session: this.type });
      // Alternates between a type that rotates and one that does not: each has its own statements, which must refuse the token.
      const anyOther = this.another((token as Token).id % 2 ? 'PLAIN' : 'ROTATING');
      const session = move.forged === 'type' ? anyOther : this.type;
      const { gen, exp } = decoded(text, 1) as { gen: number; exp: number };
      const claims = { generation: { gen: gen + 1 }, type: { session_type: session }, end: { exp: exp + 86_400 } };
      return post('refresh/', { refresh: resigned(text, { claims: claims[move.forged] }), session });
    }

    private another(other: Type): Type {
      return this.type === other ? 'STRICT' : other;
    }

    private async logIn(agent: string): Promise<Answer> {
      const body = { username: 'alice', password: 'alice-password', session: this.type, secret_key: SECRET_KEY };
      const answer = await app.post('login/', body, { 'user-agent': agent });
      this.id = answer.body.session_id;
      this.texts = [];
      this.accessTokens = [];
      this.row = this.before = null;
      if (this.isBound) {
        const { expiresAt } = await rows.findOneByOrFail({ id: this.id });
        await rows.update(this.id, { absoluteExpiresAt: expiresAt });
      }
      return answer;
    }

    /** Applies a move that is not a request: time passes for the row, uses are written, or a commit is lost. */
    private async happen(what: Move['do']): Promise<void> {
      if (what === 'uses are written') await app.get<Engine>(ENGINE).seen.flush();
      if (!this.row) return;
      const rotatedAt = new Date(Date.now() - 21 * MINUTE);
      if (what === 'the grace passes')
        await this.change({ rotatedAt: new Date(Math.max(0, this.row.rotatedAt.getTime() - 10 * MINUTE)) });
      const isPast = this.row.expiresAt.getTime() <= Date.now();
      if (what === 'the end comes near' && !isPast) await this.change({ rotatedAt, ...this.endingIn(20 * MINUTE) });
      if (what === 'the end passes') await this.change({ rotatedAt, ...this.endingIn(-MINUTE) });
      if (what === 'the database loses a generation' && this.before) {
        await app.get<Engine>(ENGINE).seen.flush();
        const confirmedGeneration = this.model.row?.server.confirmed;
        await this.change({ ...this.before, confirmedGeneration });
        this.before = null;
      }
    }

    private endingIn(time: number): Partial<SessionEntity> {
      const expiresAt = new Date(Math.floor((Date.now() + time) / 1000) * 1000);
      return { expiresAt, ...(this.isBound && { absoluteExpiresAt: expiresAt }) };
    }

    private async change(change: Partial<SessionEntity>): Promise<void> {
      await rows.update(this.id, change as object);
      this.row = await rows.findOneBy({ id: this.id });
    }

    private compareAnswer(expected: Expected, { status, body }: Answer): void {
      const { code, refresh, generation, adopted } = expected;
      expect({ status, code: body.code }).toEqual({ status: expected.status, code });
      expect('refresh' in body).toBe(Boolean(refresh));
      expect('access' in body).toBe(generation !== undefined);
      const common = { gen: generation, sid: this.id, session_type: this.type };
      if (generation !== undefined) {
        expect(decoded(body.access, 1)).toMatchObject(common);
        this.accessTokens.push(body.access);
      }
      if (!refresh) return;
      expect(decoded(body.refresh, 1)).toMatchObject(common);
      const isKnown = refresh.id in this.texts;
      const ids = this.texts.map((text) => decoded(text, 1).jti);
      expect(ids.indexOf(decoded(body.refresh, 1).jti)).toBe(isKnown ? refresh.id : -1);
      // A token that is issued again has the same text. After the grace, the test has changed the time in the row. A token that was
      // adopted has the expiry of the row.
      if (isKnown && expected.verdict?.kind !== 'hold' && !adopted) expect(body.refresh).toBe(this.texts[refresh.id]);
      this.texts[refresh.id] = body.refresh;
    }

    private async compareRow(isExtended: boolean): Promise<void> {
      const previous = this.row;
      const row = this.id ? await rows.findOneBy({ id: this.id }) : null;
      const expected = this.model.row;
      this.row = row;
      if (!row || !expected) return expect({ row, expected }).toEqual({ row: null, expected: null });
      const { current, parent } = expected.server;
      expect(row).toMatchObject({
        generation: current.generation,
        refreshJti: this.jtiOf(current),
        parentGeneration: parent?.generation ?? null,
        parentJti: parent && this.jtiOf(parent),
        userAgent: expected.agent,
      });
      const end = isExtended ? Math.floor(Date.now() / 1000) * 1000 + HOUR : (previous ?? row).expiresAt.getTime();
      expect(Math.abs(row.expiresAt.getTime() - end)).toBeLessThanOrEqual(isExtended ? 30_000 : 0);
      if (previous && row.generation > previous.generation) this.before = previous;
    }

    private jtiOf({ id }: Token): unknown {
      return decoded(this.texts[id], 1).jti;
    }
  }
});

const byName = (a: ExpectedEvent, b: ExpectedEvent): number => (a.name < b.name ? -1 : 1);

/** Returns the events, reduced to the fields that the model predicts. */
function told(events: readonly RecordedEvent[]): ExpectedEvent[] {
  const all = events.map(({ name, event }): ExpectedEvent => {
    const { rotated, reason, reuse, presentedGeneration, currentGeneration, client, session } = event as Record<
      string,
      any
    >;
    return {
      name,
      ...(rotated !== undefined && { rotated }),
      ...(reason !== undefined && { reason }),
      ...(reuse !== undefined && { reuse }),
      ...(presentedGeneration !== undefined && {
        presented: presentedGeneration,
        current: currentGeneration,
        presenter: client.userAgent,
        other: session.userAgent,
      }),
    };
  });
  return all.sort(byName);
}
