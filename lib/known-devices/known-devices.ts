import { Logger } from '@nestjs/common';
import { In, LessThanOrEqual, MoreThan } from 'typeorm';
import type { Database } from '../database/database.js';
import type { Session } from '../session/session.js';
import type { SessionEvents } from '../session/events.js';
import { describeUserAgent } from '../session/user-agent.js';
import { deviceIdOf } from './fingerprint.js';
import { KnownDeviceEntity } from './known-device.entity.js';

/** A device that is seen each day is written each day, and not at each login. */
const ACCURACY = 86_400_000;
/** So many logins wait to be looked at, at most: where the database is away, what comes on top is forgotten. */
const MAX_PENDING = 1000;

/**
 * Tells of logins from devices that their user has not used: `login.new-device`. Off unless `rememberDevices` is set.
 *
 * It looks behind the answer, so that no login waits for it or fails by it. Invariant: of any number of logins at once from one
 * new device, on any number of processes, one is told of. What is lost with a process that is killed between the login and the
 * insert is told of at the next login; between the insert and the listener, never.
 */
export class KnownDevices {
  private readonly logger = new Logger('MultiSession');
  private readonly pending = new Set<Promise<void>>();

  /** @param rememberFor milliseconds; 0 for off */
  constructor(
    private readonly database: Database,
    private readonly events: SessionEvents,
    private readonly rememberFor: number,
    private readonly now: () => number,
  ) {
    if (rememberFor > 0) events.on('session.created', ({ session }) => this.look(session));
  }

  /** Forgets all devices of a user, as when an account is deleted. @throws UnavailableError */
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

  /** @internal Deletes up to `limit` that were not seen for as long as they are remembered. @returns undefined while another process is at it */
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

  /** @internal Until every login so far has been looked at. */
  async settled(): Promise<void> {
    await Promise.all(this.pending);
  }

  private look(session: Session): void {
    if (this.pending.size >= MAX_PENDING) {
      this.logger.warn('too many logins wait to be compared with known devices; one was left out');
      return;
    }
    const looking = this.compare(session)
      .catch((error: unknown) => {
        this.logger.warn(`a login could not be compared with known devices: ${(error as Error).message}`);
      })
      .finally(() => this.pending.delete(looking));
    this.pending.add(looking);
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

  /** Mostly one statement. */
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

  /** @returns whether it is the only one of the user's; undefined where another login has just written it */
  private async remember(id: string, userId: string, now: number): Promise<boolean | undefined> {
    return this.database.transaction({ name: `devices ${userId}` }, async (manager) => {
      const remembered = { lastSeen: MoreThan(new Date(now - this.rememberFor)) };
      if (await manager.existsBy(KnownDeviceEntity, { id, ...remembered })) return undefined;
      const others = await manager
        .createQueryBuilder(KnownDeviceEntity, 'device')
        .where(this.database.sameText('device.userId', 'userId'), { userId })
        .andWhere({ ...remembered })
        .getCount();
      // One that cleanup has not yet deleted is of no account.
      await manager.delete(KnownDeviceEntity, { id });
      const row = { id, userId, lastSeen: new Date(now) };
      await manager.createQueryBuilder().insert().into(KnownDeviceEntity).values(row).updateEntity(false).execute();
      return others === 0;
    });
  }
}
