import type { SessionRecord } from '../../client/src/decisions.js';
import type { ClientModel } from './client-model.js';
import type { Flight, Tab, Token, World } from './client-world.js';

/** What a search has found. */
export interface Found {
  /** How many different worlds can be reached; up to the first fault, if there is one. */
  readonly worlds: World[];
  /** What is wrong, after which steps. */
  readonly fault?: string;
  readonly trace?: readonly string[];
}

/** Visits every world that can be reached, breadth first, up to the first one with a fault. */
export function search(model: ClientModel): Found {
  const start = normalized(model.settled(model.start), model.isCookie);
  const worlds = [start];
  const origins: (readonly [from: number, what: string])[] = [[-1, '']];
  const seen = new Set([keyOf(start)]);
  // Worlds as they come. They need not be renumbered again.
  const known = new Set<string>();
  for (let at = 0; at < worlds.length; at++) {
    for (const [what, after] of model.stepsOf(worlds[at])) {
      const fault = model.faultOf(after);
      if (fault) return { worlds, fault, trace: [...traceTo(origins, at), what] };
      const raw = keyOf(after);
      if (known.has(raw)) continue;
      known.add(raw);
      const next = normalized(model.settled(after), model.isCookie);
      const key = keyOf(next);
      if (seen.has(key)) continue;
      seen.add(key);
      worlds.push(next);
      origins.push([at, what]);
    }
  }
  return { worlds };
}

function traceTo(origins: readonly (readonly [from: number, what: string])[], at: number): string[] {
  const trace: string[] = [];
  for (let [from, what] = origins[at]; from >= 0; [from, what] = origins[from]) trace.unshift(what);
  return trace;
}

/** Renumbers generations and epochs. Only their order matters, so there are finitely many worlds. */
function normalized(world: World, isCookie: boolean): World {
  const order = new Map<string, Set<number>>();
  const note = (kind: string, value: number) => {
    const known = order.get(kind);
    if (known) known.add(value);
    else order.set(kind, new Set([value]));
  };
  const tokens = (token: Token | null | undefined) => token && note(token.session, token.generation);
  // The generations of records in cookies are counted by the client.
  const counted = isCookie ? 'counted ' : '';
  const records = (record: SessionRecord | null | undefined) => {
    if (!record) return;
    note('epoch', record.epoch);
    if (record.sessionId) note(counted + record.sessionId, record.generation);
  };
  visit(world, tokens, records);
  for (const [session, row] of Object.entries(world.rows)) {
    if (!row) continue;
    note(session, row.server.current.generation);
    if (row.server.parent) note(session, row.server.parent.generation);
  }
  const ranks = new Map(
    [...order].map(([kind, values]) => [
      kind,
      new Map([...values].sort((a, b) => a - b).map((value, rank) => [value, rank])),
    ]),
  );
  const rank = (kind: string, value: number) => ranks.get(kind)?.get(value) ?? 0;
  const renumbered = renumber(
    world,
    ({ session, generation }) => ({ session, generation: rank(session, generation) }),
    (record) => ({
      ...record,
      epoch: rank('epoch', record.epoch) + 1,
      generation: record.sessionId ? rank(counted + record.sessionId, record.generation) : 0,
    }),
  );
  const rows = Object.entries(world.rows).map(([session, row]) => {
    if (!row) return [session, null] as const;
    const { current, parent, confirmed } = row.server;
    const token = ({ generation }: { generation: number }) => {
      const id = rank(session, generation);
      return { id, generation: id };
    };
    const now = token(current);
    const isConfirmed = confirmed >= current.generation;
    const server = {
      current: now,
      parent: parent && token(parent),
      confirmed: isConfirmed ? now.generation : now.generation - 1,
      graces: 0,
    };
    return [session, { server, age: row.age }] as const;
  });
  return { ...renumbered, rows: Object.fromEntries(rows) };
}

function visit(
  { jar, stored, tabs, orphans }: World,
  token: (token: Token | null | undefined) => unknown,
  record: (record: SessionRecord | null | undefined) => unknown,
): void {
  token(jar);
  record(stored);
  const flights = [...tabs.map(({ flight }) => flight), ...orphans];
  for (const flight of flights) {
    token(flight?.presented);
    token(flight?.answer?.token);
    record(flight?.sent);
  }
  for (const { own, read, unstored } of tabs) [own, read, unstored].forEach(record);
}

function renumber(
  world: World,
  token: (token: Token) => Token,
  record: (record: SessionRecord) => SessionRecord,
): World {
  const flown = (flight: Flight): Flight => ({
    ...flight,
    sent: flight.sent && record(flight.sent),
    presented: flight.presented && token(flight.presented),
    ...(flight.answer && { answer: { ...flight.answer, token: flight.answer.token && token(flight.answer.token) } }),
  });
  return {
    ...world,
    stored: world.stored && record(world.stored),
    jar: world.jar && token(world.jar),
    tabs: world.tabs.map(({ own, read, flight, unstored, frozen, lease }) => ({
      own: own && record(own),
      ...(read && { read: record(read) }),
      ...(flight && { flight: flown(flight) }),
      ...(unstored && { unstored: record(unstored) }),
      ...(frozen !== undefined && { frozen }),
      ...(lease !== undefined && { lease }),
    })),
    orphans: world.orphans.map(flown),
  };
}

/** A text that is the same for worlds that differ only in the order of their tabs. */
function keyOf({ rows, stored, jar, tabs, orphans, deadLease, expected, logins, logouts }: World): string {
  const row = Object.entries(rows).map(
    ([session, row]) =>
      session +
      (row ? `${row.server.current.id}/${row.server.parent?.id ?? ''}/${row.server.confirmed}/${row.age}` : ''),
  );
  return [
    row.join(),
    recordKey(stored),
    tokenKey(jar),
    tabs.map(tabKey).sort().join('|'),
    orphans.map(flightKey).sort().join('|'),
    deadLease ?? '',
    expected,
    logins,
    logouts,
  ].join(';');
}

const tokenKey = (token: Token | null | undefined) => (token ? token.session + String(token.generation) : '');
const recordKey = (record: SessionRecord | null | undefined) =>
  record ? `${record.epoch}${record.sessionId ?? ''}${record.generation}${record.ended ?? ''}` : '';
const tabKey = ({ own, read, flight, unstored, frozen, lease }: Tab) =>
  `${recordKey(own)},${recordKey(read)},${flight ? flightKey(flight) : ''},${recordKey(unstored)},${frozen ?? ''},${lease ?? ''}`;
const flightKey = ({ kind, sent, presented, answer, age, hasArrived }: Flight) =>
  `${kind} ${recordKey(sent)} ${tokenKey(presented)} ${age}${hasArrived ? '!' : ''}${
    answer ? `${answer.status}${answer.code ?? ''}${answer.session ?? ''}${tokenKey(answer.token)}` : ''
  }`;
