import type { SessionRecord } from '../../client/src/decisions.js';
import { type Server, SETTLED, use } from './rotation-model.js';

/**
 * The state of the model in `client-model.ts`: tabs of a browser that share a store and perhaps a cookie jar, the messages
 * between them and the server, and the server's rows.
 */
export interface World {
  /** The rows by their session. Null if a session has ended. */
  readonly rows: Rows;
  /** What the tabs share. */
  readonly stored: SessionRecord | null;
  /** The refresh cookie. The access cookie is always of the same answer. */
  readonly jar: Token | null;
  readonly tabs: readonly Tab[];
  /** The requests of tabs that were killed. */
  readonly orphans: readonly Flight[];
  /** How many ticks ago a tab took the lease that was killed while it had it. */
  readonly deadLease?: number | undefined;
  /** What the user must find. */
  readonly expected: Expected;
  readonly logins: number;
  readonly logouts: number;
}

export type Rows = Readonly<Record<string, Row | null>>;

/**
 * The session in which the user must be. `out`: the user has logged out. `unsettled`: a login with cookies is about to replace
 * the session. `confused`: a tab has stored another session than that of the cookies.
 */
export type Expected = string;

/** A refresh token: its session and its generation. In the model each generation has one token. */
export interface Token {
  readonly session: string;
  readonly generation: number;
}

/** The row of a session, and how many ticks ago it rotated. */
export interface Row {
  readonly server: Server;
  readonly age: number;
}

/** A tab. It sends one request at a time. */
export interface Tab {
  /** What it remembers. */
  readonly own: SessionRecord | null;
  /** What it has read in order to send it. The storage may be asynchronous, so it may be frozen before it sends. */
  readonly read?: SessionRecord | undefined;
  readonly flight?: Flight | undefined;
  /** An answer that it uses before it stores it. */
  readonly unstored?: SessionRecord | undefined;
  /** For how many ticks it has been frozen. */
  readonly frozen?: number | undefined;
  /** How many ticks ago it took the lease, if it has it. */
  readonly lease?: number | undefined;
}

/** A request in flight, or its answer. */
export interface Flight {
  readonly kind: 'refresh' | 'login' | 'logout';
  /** What was stored when the request was sent. */
  readonly sent: SessionRecord | null;
  readonly presented: Token | null;
  readonly answer?: Answer;
  /** How many ticks ago it was sent. */
  readonly age: number;
  /** Whether the answer has arrived in a frozen tab. */
  readonly hasArrived?: boolean;
}

/** An answer of the server. */
export interface Answer {
  readonly status: 200 | 401 | 503;
  readonly code?: string;
  readonly session?: string;
  /** A refresh token to store: in the body, or as a cookie. */
  readonly token?: Token | undefined;
}

/** How many ticks the grace of a rotation lasts. A round trip ends in the tick in which it began, or in the next one. */
export const GRACE = 2;
/** From this age on, in ticks, a session may rotate again. */
export const SETTLED_AGE = GRACE * SETTLED;
/** After how many ticks a request counts as lost and a lease lapses. */
export const LIMIT = 2;
/** For how many ticks a frozen tab sleeps at least. */
export const SLEEP = LIMIT + 1;

const NO_TIMES = { issuedAt: 0, arrivedAt: 0, accessLife: 1, sessionLife: 1 };

/** The record of a session. */
export const recordOf = (epoch: number, { session, generation }: Token): SessionRecord => ({
  ...NO_TIMES,
  epoch,
  sessionId: session,
  generation,
});

/** The record of an ending. */
export const endingOf = (epoch: number, ended: 'logout' | 'revoked'): SessionRecord => ({
  ...NO_TIMES,
  epoch,
  generation: 0,
  ended,
});

/** The token in a record of the body transport. */
export const tokenIn = (record: SessionRecord | null): Token | null =>
  record?.sessionId ? { session: record.sessionId, generation: record.generation } : null;

export const withTab = (world: World, at: number, change: Partial<Tab>): World => ({
  ...world,
  tabs: world.tabs.with(at, { ...world.tabs[at], ...change }),
});

/** The world after an access token of this generation was used. */
export function used(world: World, { session, generation }: Token): World {
  const row = world.rows[session];
  if (!row) return world;
  return { ...world, rows: { ...world.rows, [session]: { ...row, server: use(row.server, generation) } } };
}

/** Every message that travels. */
export const inFlight = ({ tabs, orphans }: World): Flight[] => [
  ...tabs.flatMap(({ flight }) => (flight && !flight.hasArrived ? [flight] : [])),
  ...orphans,
];

/** A tick later: everything is older, up to the age from which on nothing changes. */
export function aged(world: World): World {
  const next = (age: number, most: number) => Math.min(age + 1, most);
  const older = (flight: Flight): Flight => ({ ...flight, age: next(flight.age, LIMIT) });
  const rows = Object.entries(world.rows).map(
    ([session, row]) => [session, row && { ...row, age: next(row.age, SETTLED_AGE) }] as const,
  );
  return {
    ...world,
    rows: Object.fromEntries(rows),
    tabs: world.tabs.map(({ flight, frozen, lease, ...tab }) => ({
      ...tab,
      flight: flight && older(flight),
      frozen: frozen === undefined ? undefined : next(frozen, SLEEP),
      lease: lease === undefined ? undefined : next(lease, LIMIT),
    })),
    orphans: world.orphans.map(older),
    deadLease: world.deadLease === undefined ? undefined : next(world.deadLease, LIMIT),
  };
}
