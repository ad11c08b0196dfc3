import { randomBytes } from 'node:crypto';
import type { EntityManager } from 'typeorm';
import { ServerFaultError, UnavailableError } from '../errors.js';
import type { Database } from './database.js';
import { SessionEpochEntity } from './epoch.entity.js';
import { remedyOf } from './permanent-faults.js';
import type { Sql } from './sql.js';

const NAME = 'current';
/** In hex digits. Tokens state the epoch, so it is short. It need not be secret, only different each time. */
const EPOCH_LENGTH = 16;

const INSERT: Sql<{ name: string; epoch: string }> = {
  entities: [SessionEpochEntity],
  text: ({ now, insertIfAbsent }) =>
    insertIfAbsent(`INTO session_epoch (name, epoch, first, created_at) VALUES (:name, :epoch, :epoch, ${now})`),
};

/** The current epoch of the database, and the epoch of tokens that do not state one. */
export type KnownEpochs = Readonly<Pick<SessionEpochEntity, 'epoch' | 'first'>>;

/**
 * The epoch of the database: a random text in the table `session_epoch`, which each token and each managed key states. A
 * restored backup revives sessions and keys that had ended. The operator ends everything older by replacing the text.
 *
 * Each poll reads the epoch, so requests need no query. A token of an unknown epoch may come from a process that has read a
 * newer one. The row decides, and an unknown epoch is never reported as an invalid token before it has been read.
 */
export class Epochs {
  private known?: KnownEpochs;
  /** Whether the last try to read it failed in a way that waiting does not cure. */
  private isBroken = false;

  /** @param isUpToDate whether the last poll is recent enough to rely on what it has read */
  constructor(
    private readonly database: Database,
    private readonly isUpToDate: () => boolean,
  ) {}

  /** Whether the epoch has been read. */
  get isKnown(): boolean {
    return this.known !== undefined;
  }

  /**
   * The epoch that new tokens and keys state.
   * @throws UnavailableError if it has not been read yet
   * @throws ServerFaultError if it cannot be read, for example because its table is missing
   */
  get current(): string {
    return this.both.epoch;
  }

  /**
   * The current epoch and the first one.
   * @throws UnavailableError if they have not been read yet
   * @throws ServerFaultError if they cannot be read, for example because their table is missing
   */
  get both(): KnownEpochs {
    if (this.known) return this.known;
    if (this.isBroken) throw new ServerFaultError(new Error('the epoch cannot be read'));
    throw new UnavailableError(new Error('the epoch has not been read yet'));
  }

  /** Whether memory knows this epoch as the current one. A token without an epoch belongs to the first one. */
  matches(epoch: string | undefined): boolean {
    return this.known !== undefined && (epoch ?? this.known.first) === this.known.epoch;
  }

  /**
   * Whether tokens of this epoch are valid. Reads the row if memory does not know the epoch or is stale.
   * @throws UnavailableError if the row cannot be read
   */
  isCurrent(epoch: string | undefined): boolean | Promise<boolean> {
    return (this.isUpToDate() && this.matches(epoch)) || this.matchesRow(epoch);
  }

  /**
   * Learns the epoch that `read` finds, as a part of a poll.
   * @param read returns the row, whose fields are null or which is null itself if the database has no epoch yet
   * @returns what `read` returns
   * @throws whatever `read` throws
   */
  async learn<T extends { readonly [Field in keyof KnownEpochs]: string | null } | null>(
    read: () => Promise<T>,
  ): Promise<T> {
    try {
      const row = await read();
      // Both are null or neither is.
      this.known = row?.epoch ? (row as KnownEpochs) : undefined;
      this.isBroken = false;
      return row;
    } catch (error) {
      this.isBroken = remedyOf(error, this.database.kind) !== undefined;
      throw error;
    }
  }

  /** Reads the epoch. */
  async poll(manager: EntityManager): Promise<void> {
    await this.learn(() => manager.findOneBy(SessionEpochEntity, { name: NAME }));
  }

  /**
   * Reads the epoch. Creates it if this is the first process on the database.
   * @throws UnavailableError if the database fails
   */
  async load(): Promise<void> {
    await this.database.run((manager) => this.poll(manager));
    if (this.known) return;
    const epoch = randomBytes(16).toString('hex').slice(0, EPOCH_LENGTH);
    await this.database.execute(INSERT, { name: NAME, epoch });
    await this.database.run((manager) => this.poll(manager));
  }

  private async matchesRow(epoch: string | undefined): Promise<boolean> {
    await this.load();
    return this.matches(epoch);
  }
}
