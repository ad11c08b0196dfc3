import type { SessionClaims } from '../token/access-token.js';
import type { SessionConnection } from './session-connection.js';

/** Finds open connections by their session, and by the second in which their access token expires. */
export class ConnectionRegistry {
  private readonly bySession = new Map<string, Set<SessionConnection>>();
  private readonly byExpiry = new Map<number, Set<SessionConnection>>();
  private count = 0;

  /** The number of connections. */
  get size(): number {
    return this.count;
  }

  add(connection: SessionConnection): void {
    insert(this.bySession, connection.session.sessionId, connection);
    insert(this.byExpiry, connection.session.expiresAt, connection);
    this.count++;
  }

  /** @returns whether it was there */
  delete(connection: SessionConnection): boolean {
    const { sessionId, expiresAt } = connection.session;
    if (!remove(this.bySession, sessionId, connection)) return false;
    remove(this.byExpiry, expiresAt, connection);
    this.count--;
    return true;
  }

  /** Gives a connection the claims of a newer token of its session. Ignores an older one, and a connection that is not here. */
  extend(connection: SessionConnection, session: SessionClaims): void {
    if (!isNewer(session, connection.session)) return;
    if (!remove(this.byExpiry, connection.session.expiresAt, connection)) return;
    connection.adopt(session);
    insert(this.byExpiry, session.expiresAt, connection);
  }

  /** Returns the connections of a session. */
  ofSession(sessionId: string): SessionConnection[] {
    return [...(this.bySession.get(sessionId) ?? [])];
  }

  /** Returns the connections whose access tokens have expired. */
  expiredAt(now: number): SessionConnection[] {
    const due = [...this.byExpiry.keys()].filter((second) => second * 1000 <= now);
    return due.flatMap((second) => [...(this.byExpiry.get(second) ?? [])]);
  }

  /** The ids of all sessions with connections. */
  sessionIds(): string[] {
    return [...this.bySession.keys()];
  }
}

/** Two tokens of one second expire together. */
function isNewer(session: SessionClaims, known: SessionClaims): boolean {
  const isSameTime = session.expiresAt === known.expiresAt;
  return session.expiresAt > known.expiresAt || (isSameTime && session.generation > known.generation);
}

function insert<K>(map: Map<K, Set<SessionConnection>>, key: K, connection: SessionConnection): void {
  const found = map.get(key);
  if (found) found.add(connection);
  else map.set(key, new Set([connection]));
}

function remove<K>(map: Map<K, Set<SessionConnection>>, key: K, connection: SessionConnection): boolean {
  const found = map.get(key);
  if (!found?.delete(connection)) return false;
  if (found.size === 0) map.delete(key);
  return true;
}
