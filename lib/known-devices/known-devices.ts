import { Logger } from '@nestjs/common';
import { In, LessThanOrEqual, MoreThan } from 'typeorm';
import type { Database } from '../database/database.js';
import type { Session } from '../session/session.js';
import type { SessionEvents } from '../session/events.js';
import { describeUserAgent } from '../session/user-agent.js';
import { deviceIdOf } from './fingerprint.js';
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
 * Invariant: concurrent logins from one new device emit one event, even across processes. If a process is killed between the
 * login and the insert, the next login emits the event. If it is killed between the insert and the listener, the event is lost.
 */
export class KnownDevices {
  private readonly logger = new Logger('MultiSession');
  private readonly pending = new Set<Promise<void>>();

  /** @param rememberFor in milliseconds; 0 turns it off */
  constructor(
    private readonly database: Database,
    private readonly events: SessionEvents,
    private readonly rememberFor: number,
    private readonly now: () => number,
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
   * Deletes up to `limit` devices that have not been seen for `rememberDevices`.
   * @returns how many were deleted, or undefined if another process is doing it
   * @internal
   */
  async deleteOld(limit: number): Promise<number | undefined> {
    if (this.rememberFor === 0) return 0;
    return this.database.transaction({ name: 'cleanup', ifHeld: 'give-up' }, async (manager) => {
      const lastSeen = LessThanOrEqual(new Date(this.now() - this.rememberFor));
      const rows = await manager.find(KnownDeviceEntity, { select: { id: true }, where: { lastSeen }, take: limit });
      if (rows.length === 0) return 0;
      const { affected } = await manager.delete(KnownDeviceEntity, { id: In(rows.map((row) => row.id)), lastSeen });
      return affected ?? 0;
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
    const now = this.now();
    if (await this.isKnown(id, now)) return;
    const isFirst = await this.remember(id, userId, now);
    if (isFirst === undefined) return;
    const device = { name: session.deviceName, ...describeUserAgent(session.userAgent) };
    this.events.emit('login.new-device', { session, device, isFirst });
  }

  /** Returns whether the device is known, and updates an outdated `lastSeen`. Usually takes one statement. */
  private async isKnown(id: string, now: number): Promise<boolean> {
    return this.database.run(async (manager) => {
      const row = await manager.findOneBy(KnownDeviceEntity, {
        id,
        lastSeen: MoreThan(new Date(now - this.rememberFor)),
      });
      if (row && now - row.lastSeen.getTime() >= ACCURACY)
        await manager.update(KnownDeviceEntity, { id }, { lastSeen: new Date(now) });
      return row !== null;
    });
  }

  /**
   * Stores the device.
   * @returns whether the user has no other known device, or undefined if another login has just stored this one
   */
  private async remember(id: string, userId: string, now: number): Promise<boolean | undefined> {
    return this.database.transaction({ name: `devices ${userId}` }, async (manager) => {
      const remembered = { lastSeen: MoreThan(new Date(now - this.rememberFor)) };
      if (await manager.existsBy(KnownDeviceEntity, { id, ...remembered })) return undefined;
      const others = await manager
        .createQueryBuilder(KnownDeviceEntity, 'device')
        .where(this.database.sameText('device.userId', 'userId'), { userId })
        .andWhere({ ...remembered })
        .getCount();
      // An outdated row of the same device may still wait for cleanup, and it would collide with the new one.
      await manager.delete(KnownDeviceEntity, { id });
      const row = { id, userId, lastSeen: new Date(now) };
      await manager.createQueryBuilder().insert().into(KnownDeviceEntity).values(row).updateEntity(false).execute();
      return others === 0;
    });
  }
}
