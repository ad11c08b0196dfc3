import type {
  AdminActionPage,
  AdminSessionHistory,
  AdminSessionPage,
  DeadLetter,
  EventStatus,
  SessionStatistics,
  SigningKey,
} from '../contract.js';
import { SessionError } from '../errors.js';
import type { SessionClient } from '../types.js';

/** What to list. An empty text does not filter. */
export interface AdminFilter {
  readonly user: string;
  readonly user_name: string;
  readonly type: string;
  readonly since: string;
  readonly ip_address: string;
  readonly device: string;
}

/** The requests of `<session-admin>`. Each of them may throw a `SessionError`. */
export class AdminRequests {
  constructor(
    private readonly client: SessionClient,
    private readonly url: string,
  ) {}

  async list(filter: AdminFilter, after: string | null): Promise<AdminSessionPage> {
    const query = new URLSearchParams(Object.entries(filter).filter(([, value]) => value !== ''));
    if (after) query.set('after', after);
    return (await this.ask('GET', `sessions?${query}`)) as AdminSessionPage;
  }

  /** Ends a session. It succeeds if the session has ended already. */
  async end(id: string): Promise<void> {
    await this.ask('DELETE', `sessions/${encodeURIComponent(id)}`).catch((error: unknown) => {
      if (!(error instanceof SessionError && error.code === 'session_not_found')) throw error;
    });
  }

  /** @returns how many sessions have ended */
  async endOfUser(user: string): Promise<number> {
    const answer = await this.ask('DELETE', `users/${encodeURIComponent(user)}/sessions`);
    return (answer as { ended: number }).ended;
  }

  /** @param before `next` of the previous page, or null */
  async history(user: string, before: string | null): Promise<AdminSessionHistory> {
    const query = new URLSearchParams(before === null ? {} : { before });
    return (await this.ask('GET', `users/${encodeURIComponent(user)}/history?${query}`)) as AdminSessionHistory;
  }

  /** @param after `next` of the previous page, or null */
  async actions(after: string | null): Promise<AdminActionPage> {
    const query = new URLSearchParams(after === null ? {} : { after });
    return (await this.ask('GET', `actions?${query}`)) as AdminActionPage;
  }

  async statistics(days: number): Promise<SessionStatistics> {
    return (await this.ask('GET', `statistics?days=${days}`)) as SessionStatistics;
  }

  async keys(): Promise<SigningKey[]> {
    return (await this.ask('GET', 'keys')) as SigningKey[];
  }

  async eventStatus(): Promise<EventStatus> {
    return (await this.ask('GET', 'events')) as EventStatus;
  }

  /** @param after `event_id` of the last one on the previous page */
  async deadLetters(destination: string, after: string | undefined): Promise<DeadLetter[]> {
    const query = new URLSearchParams({ destination, ...(after !== undefined && { after }) });
    return (await this.ask('GET', `events/dead-letters?${query}`)) as DeadLetter[];
  }

  /** Delivers an event again. */
  async replay(destination: string, eventId: string): Promise<void> {
    await this.ask('POST', 'events/replay', { destination, event_id: eventId });
  }

  private async ask(method: string, route: string, sent?: object): Promise<unknown> {
    const response = await this.client
      .fetch(`${this.url.replace(/\/$/, '')}/admin/${route}`, {
        method,
        ...(sent && { body: JSON.stringify(sent), headers: { 'Content-Type': 'application/json' } }),
      })
      .catch(unreachable);
    const body: unknown = await response.json().catch(() => undefined);
    if (response.ok) return body;
    const { code = 'unknown', message = response.statusText, errors } = (body ?? {}) as Refused;
    const retryAfter = Number(response.headers.get('Retry-After') ?? NaN);
    throw new SessionError(code, message, response.status, retryAfter >= 0 ? retryAfter : undefined, errors);
  }
}

interface Refused {
  readonly code?: string;
  readonly message?: string;
  readonly errors?: Record<string, string[]>;
}

/** `fetch` rejects with a TypeError if the network fails. */
function unreachable(error: unknown): never {
  throw error instanceof TypeError ? new SessionError('unreachable', error.message) : error;
}
