import { Logger } from '@nestjs/common';
import type { Database } from '../database/database.js';
import { fitClientInfo } from '../session/client-info.js';
import type { SessionEventMap, SessionEvents } from '../session/events.js';
import { dataOf, newEventId } from './event-record.js';
import { eventValues, insertEvents } from './outbox-sql.js';

/** How many failed logins a process may write at once, and how many more each second. */
const BURST = 100;
const PER_SECOND = 10;

/**
 * Writes `login.failed`. There is no change to write it with, so it is a statement of its own, after the answer: a login that
 * fails takes no longer.
 *
 * An attacker can cause any number of failures. A process therefore writes at most ten a second after a burst of a hundred. The
 * next event that it writes says how many it has left out. The user name is not stored: people also type passwords into that
 * field.
 */
export class LoginFailures {
  private readonly logger = new Logger('MultiSession');
  private readonly pending = new Set<Promise<void>>();
  private allowance = BURST;
  private refilledAt: number;
  private suppressed = 0;

  /**
   * @param now returns the database's time, in milliseconds since 1970
   * @param written is called after each event
   */
  constructor(
    private readonly database: Database,
    events: SessionEvents,
    private readonly now: () => number,
    private readonly written: () => void,
  ) {
    this.refilledAt = performance.now();
    events.on('login.failed', (event) => this.note(event));
  }

  /** Waits until every event so far is written. */
  async settled(): Promise<void> {
    await Promise.all(this.pending);
  }

  private note(event: SessionEventMap['login.failed']): void {
    if (!this.takeAllowance()) {
      this.suppressed++;
      return;
    }
    const suppressed = this.suppressed;
    this.suppressed = 0;
    const writing = this.write(event, suppressed)
      .catch((error: unknown) => {
        this.suppressed += suppressed + 1;
        this.logger.warn(`a failed login could not be written to the events: ${(error as Error).message}`);
      })
      .finally(() => this.pending.delete(writing));
    this.pending.add(writing);
  }

  private takeAllowance(): boolean {
    const now = performance.now();
    this.allowance = Math.min(BURST, this.allowance + ((now - this.refilledAt) / 1000) * PER_SECOND);
    this.refilledAt = now;
    if (this.allowance < 1) return false;
    this.allowance--;
    return true;
  }

  private async write(
    { reason, type, userId, client }: SessionEventMap['login.failed'],
    suppressed: number,
  ): Promise<void> {
    const { userAgent, ipAddress, deviceName } = fitClientInfo(client);
    const described = { user_agent: userAgent, ip_address: ipAddress, device_name: deviceName };
    const values = eventValues([
      {
        ...{ id: newEventId(this.now()), name: 'login.failed', position: 1, sessionId: null },
        userId: userId === undefined ? null : String(userId),
        ...{ sessionType: type, reason, initiator: 'user', data: dataOf(described, { suppressed }) },
      },
    ]);
    await this.database.execute(insertEvents(1), values);
    this.written();
  }
}
