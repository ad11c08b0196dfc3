import { Logger } from '@nestjs/common';
import type { Database } from '../database/database.js';
import type { Job } from '../database/job.js';
import type { ChangeLog } from '../session/change-log.js';
import type { Session } from '../session/session.js';
import type { SessionEvents } from '../session/events.js';
import { describeUserAgent } from '../session/user-agent.js';
import type { UserRows } from '../session/user-row.js';
import { deviceIdOf } from './fingerprint.js';
import {
  DELETE,
  deleteForgotten,
  FIND_FORGOTTEN,
  FIND_KNOWN,
  FIND_OTHER,
  idValues,
  INSERT,
  SEE,
} from './known-device-sql.js';
import { KnownDeviceEntity } from './known-device.entity.js';

/** How outdated `lastSeen` may be, in milliseconds. A device is written once a day, and not at each login. */
const ACCURACY = 86_400_000;
/** Maximum number of logins that wait to be compared. While the database is unavailable, further logins are skipped. */
const MAX_PENDING = 1000;

/**
 * Emits `login.new-device` for a login from a device that its user has not used before. Off unless `rememberDevices` is set.
 *
 * It runs after the response has been sent, so a login neither waits for it nor fails because of it.
 *
 * Each row records when its device is forgotten. A process that remembers devices for a shorter time therefore neither forgets
 * nor deletes them early.
 *
 * Invariant: concurrent logins from one new device emit one event, even across processes. If a process is killed between the
 * login and the insert, the next login emits the event. If it is killed between the insert and the listener, the event is lost.
 */
export class KnownDevices {
  private readonly logger = new Logger('MultiSession');
  private readonly pending = new Set<Promise<void>>();

  /**
   * @param users the locks of users
   * @param rememberFor in milliseconds; 0 turns it off
   * @param cleanup elects the process that cleans up
   * @param changes is told about new devices in the transaction that stores them
   */
  constructor(
    private readonly database: Database,
    private readonly users: UserRows,
    private readonly events: SessionEvents,
    private readonly rememberFor: number,
    private readonly cleanup: Pick<Job, 'run'>,
    private readonly changes: ChangeLog,
  ) {
    if (rememberFor > 0) events.on('session.created', ({ session }) => this.startComparing(session));
  }

  /**
   * Forgets all devices of a user, for example when you delete the account.
   * @throws UnavailableError if the database cannot be reached
   */
  async forget(userId: string | number): Promise<void> {
    await this.database.run((manager) =>
      manager
        .createQueryBuilder()
        .delete()
        .from(KnownDeviceEntity)
        .where(this.database.sameText('userId', 'userId'), { userId: String(userId) })
        .execute(),
    );
  }

  /**
   * Deletes up to `limit` devices that are forgotten by now. Another process that remembers devices for longer has recorded so
   * in their rows.
   * @returns how many were deleted, or undefined if another process is doing it
   * @internal
   */
  async deleteOld(limit: number): Promise<number | undefined> {
    const { rememberFor, database } = this;
    if (rememberFor === 0) return 0;
    return this.cleanup.run(async (manager) => {
      const forgotten = await database.query(FIND_FORGOTTEN, { rememberFor, limit }, manager);
      if (forgotten.length === 0) return 0;
      const values = { ...idValues(forgotten.map(({ id }) => id)), rememberFor };
      return database.execute(deleteForgotten(forgotten.length), values, manager);
    });
  }

  /**
   * Waits until every login so far has been compared.
   * @internal
   */
  async settled(): Promise<void> {
    await Promise.all(this.pending);
  }

  private startComparing(session: Session): void {
    if (this.pending.size >= MAX_PENDING) {
      this.logger.warn(`${MAX_PENDING} logins wait to be compared with known devices. This one is skipped`);
      return;
    }
    const comparing = this.compare(session)
      .catch((error: unknown) => {
        this.logger.warn(`a login could not be compared with known devices: ${(error as Error).message}`);
      })
      .finally(() => this.pending.delete(comparing));
    this.pending.add(comparing);
  }

  private async compare(session: Session): Promise<void> {
    const userId = String(session.userId);
    const id = deviceIdOf(userId, session);
    if (await this.isKnown(id)) return;
    const isFirst = await this.remember(id, session);
    if (isFirst === undefined) return;
    const device = { name: session.deviceName, ...describeUserAgent(session.userAgent) };
    this.events.emit('login.new-device', { session, device, isFirst });
  }

  /** Returns whether the device is known, and updates an outdated row. Usually takes one statement. */
  private async isKnown(id: string): Promise<boolean> {
    const { database, rememberFor } = this;
    const [device] = await database.query(FIND_KNOWN, { id, rememberFor, accuracy: ACCURACY });
    if (device?.isOutdated) await database.execute(SEE, { id, rememberFor });
    return device !== undefined;
  }

  /**
   * Stores the device.
   * @returns whether the user has no other known device, or undefined if another login has just stored this one
   */
  private async remember(id: string, session: Session): Promise<boolean | undefined> {
    const { database, rememberFor } = this;
    const userId = String(session.userId);
    return this.users.asUser(userId, async (manager) => {
      await this.users.lock(manager, userId);
      if ((await database.query(FIND_KNOWN, { id, rememberFor, accuracy: ACCURACY }, manager)).length > 0)
        return undefined;
      const others = await database.query(FIND_OTHER, { userId, rememberFor }, manager);
      // A row of the same device that is already forgotten may still wait for the cleanup, and would collide with the new one.
      await database.execute(DELETE, { id }, manager);
      await database.execute(INSERT, { id, userId, rememberFor }, manager);
      const isFirst = others.length === 0;
      const row = { ...session, userId };
      await this.changes.write(manager, [
        { kind: 'noted', name: 'login.new-device', row, details: { is_first: isFirst } },
      ]);
      return isFirst;
    });
  }
}
