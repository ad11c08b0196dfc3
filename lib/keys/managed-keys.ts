import { Logger } from '@nestjs/common';
import type { EntityManager } from 'typeorm';
import type { Database } from '../database/database.js';
import { MultiSessionConfigurationError } from '../errors.js';
import type { Keyring } from '../token/keyring.js';
import type { JwtAlgorithm, ManagedKeyConfig } from '../token/options.js';
import { generateKey, KeySealer, type ManagedKey } from './sealed-key.js';
import { SigningKeyEntity } from './signing-key.entity.js';

/** What the life of managed keys goes by. */
export interface ManagedKeyTimes {
  /** From the reading of a committed key until it signs: by then every process has read it, or knows that it is behind. */
  readonly activation: number;
  /** From the end of a key's signing until no token that it signed can be live. */
  readonly retention: number;
}

/** What is to be done next with the keys. */
type Step =
  | { do: 'create'; activeAt: number | null }
  | { do: 'activate'; kid: string; activeAt: number }
  | { do: 'retire'; kid: string };

const LOCK = 'signing-keys';
/** A key that sessions still bear is asked about again after an hour: the answer takes a look at every session. */
const ASK_AGAIN = 3_600_000;

/**
 * Makes the signing keys of `jwt.managed`, keeps them in a table, encrypted, and replaces them.
 *
 * A key is *pending* from its commit, *active* from `activeAt`, until the next one is, and *retired*, that is deleted, when no
 * live token can bear it. Every process reads the table with each poll of the blacklist.
 *
 * Invariant: no process meets a token of a key that it does not know while it is up to date. For a key is activated only by who
 * has read it after its commit, and signs `activation` later; any process that has not read it by then has not polled for so
 * long that it knows itself to be stale, and answers 503.
 */
export class ManagedKeys {
  private readonly logger = new Logger('MultiSession');
  private readonly sealer: KeySealer;
  /** By kid; null for those that cannot be decrypted, so that each is told of once. */
  private readonly opened = new Map<string, ManagedKey | null>();
  private readonly askedAt = new Map<string, number>();
  private inUse = '';
  private maintaining?: Promise<void>;

  /** @param isInUse whether a live session's refresh token is signed by this key */
  constructor(
    private readonly database: Database,
    private readonly keyring: Keyring,
    private readonly config: ManagedKeyConfig | undefined,
    private readonly times: ManagedKeyTimes,
    private readonly now: () => number,
    private readonly isInUse: (manager: EntityManager, kid: string) => Promise<boolean>,
  ) {
    this.sealer = new KeySealer(config?.encryptionKeys ?? []);
  }

  /** Whether keys are managed here at all: the option `jwt.managed`. */
  get isOn(): boolean {
    return this.config !== undefined;
  }

  /** Whether the table has been read. */
  get isLoaded(): boolean {
    return !this.config || this.inUse !== '';
  }

  /**
   * Reads the keys, and makes the first where there is none. A database that is away is left to the polls.
   * @throws MultiSessionConfigurationError where the encryption key is not the one that the keys are encrypted under
   */
  async start(): Promise<void> {
    if (!this.config) return;
    try {
      await this.maintain('wait');
      const rows = await this.database.run((manager) => this.read(manager));
      // Once, at start: two versions of an application would go on replacing each other's keys.
      if (rows[rows.length - 1].algorithm !== this.config.algorithm) await this.rotate();
    } catch (error) {
      if (error instanceof MultiSessionConfigurationError) throw error;
      this.logger.warn(`the signing keys could not be read: ${(error as Error).message}`);
    }
    if (this.opened.size > 0 && !this.isLoaded) throw new MultiSessionConfigurationError([WRONG_ENCRYPTION_KEY]);
  }

  /** Waits for what is being done with the keys. */
  async stop(): Promise<void> {
    await this.maintaining?.catch(() => undefined);
  }

  /** Reads the keys with a poll, and sees behind it to what is due. */
  async poll(manager: EntityManager): Promise<void> {
    if (!this.config) return;
    const rows = await this.read(manager);
    if (!this.maintaining && this.due(rows)) {
      this.maintaining = this.maintain('give-up')
        .catch((error: unknown) => this.logger.warn(`the signing keys wait: ${(error as Error).message}`))
        .finally(() => (this.maintaining = undefined));
    }
  }

  /** Makes a new key now, which signs as soon as every process knows it. Nobody is logged out. @throws UnavailableError */
  async rotate(): Promise<void> {
    this.assertOn();
    await this.underLock('wait', async (manager, rows) => {
      if (!rows.some((row) => row.activeAt === null)) await this.create(manager, null);
    });
  }

  /**
   * Removes a key that has come into wrong hands: every token that it signed is refused, on other processes with their next
   * poll, and whoever holds one logs in again. Where it is the one that signs, a new one does so at once.
   * @throws UnavailableError
   */
  async revoke(kid: string): Promise<void> {
    this.assertOn();
    await this.underLock('wait', async (manager, rows) => {
      await manager.delete(SigningKeyEntity, { kid });
      if (signingAt(rows, this.now())?.kid === kid) await this.create(manager, this.now());
    });
    await this.database.run((manager) => this.read(manager));
  }

  private async read(manager: EntityManager): Promise<SigningKeyEntity[]> {
    const rows = await readAll(manager);
    for (const kid of this.opened.keys()) if (!rows.some((row) => row.kid === kid)) this.opened.delete(kid);
    const keys = rows.flatMap((row) => this.open(row) ?? []);
    const signing = keys.find((key) => key.kid === signingAt(rows, this.now())?.kid);
    const state = JSON.stringify([keys.map((key) => key.kid), signing?.kid]);
    if (!signing || state === this.inUse) return rows;
    this.keyring.use(keys, signing.kid);
    this.inUse = state;
    return rows;
  }

  private open({ kid, algorithm, sealed }: SigningKeyEntity): ManagedKey | null {
    let key = this.opened.get(kid);
    if (key === undefined) {
      key = this.sealer.open(kid, algorithm as JwtAlgorithm, sealed) ?? null;
      if (!key) this.logger.error(`the signing key ${kid} cannot be decrypted: ${WRONG_ENCRYPTION_KEY}`);
      this.opened.set(kid, key);
    }
    return key;
  }

  /** What is due by these rows; the times are the database's. */
  private due(rows: readonly SigningKeyEntity[]): Step | undefined {
    const now = this.now();
    if (rows.length === 0) return { do: 'create', activeAt: now };
    const pending = rows.find((row) => row.activeAt === null);
    if (pending) return { do: 'activate', kid: pending.kid, activeAt: now + this.times.activation };
    const newest = rows[rows.length - 1];
    if (activeAt(newest) + (this.config as ManagedKeyConfig).rotateEvery <= now)
      return { do: 'create', activeAt: null };
    const retired = rows.find((row, at) => {
      const until = at + 1 < rows.length ? activeAt(rows[at + 1]) + this.times.retention : Infinity;
      return until <= now && now >= (this.askedAt.get(row.kid) ?? 0) + ASK_AGAIN;
    });
    return retired && { do: 'retire', kid: retired.kid };
  }

  /** Does what is due, on one process at a time, by what the table holds under the lock. */
  private async maintain(ifHeld: 'wait' | 'give-up'): Promise<void> {
    await this.underLock(ifHeld, async (manager, rows) => {
      const step = this.due(rows);
      if (step?.do === 'create') await this.create(manager, step.activeAt);
      if (step?.do === 'activate')
        await manager.update(SigningKeyEntity, { kid: step.kid }, { activeAt: new Date(step.activeAt) });
      if (step?.do === 'retire') await this.retire(manager, step.kid);
    });
  }

  private async underLock(
    ifHeld: 'wait' | 'give-up',
    work: (manager: EntityManager, rows: SigningKeyEntity[]) => Promise<void>,
  ): Promise<void> {
    await this.database.transaction({ name: LOCK, ifHeld }, async (manager) => work(manager, await readAll(manager)));
  }

  private async create(manager: EntityManager, from: number | null): Promise<void> {
    const key = await generateKey((this.config as ManagedKeyConfig).algorithm);
    const { kid, algorithm } = key;
    const row: SigningKeyEntity = {
      kid,
      algorithm,
      sealed: this.sealer.seal(key),
      createdAt: new Date(this.now()),
      activeAt: from === null ? null : new Date(from),
    };
    await manager.createQueryBuilder().insert().into(SigningKeyEntity).values(row).updateEntity(false).execute();
    this.logger.log(`a new signing key: ${kid}`);
  }

  private async retire(manager: EntityManager, kid: string): Promise<void> {
    this.askedAt.set(kid, this.now());
    if (await this.isInUse(manager, kid)) return;
    await manager.delete(SigningKeyEntity, { kid });
    this.logger.log(`the signing key ${kid} has been retired`);
  }

  private assertOn(): void {
    if (!this.config)
      throw new MultiSessionConfigurationError(['jwt.managed: is not set, so there are no keys to rotate']);
  }
}

const WRONG_ENCRYPTION_KEY =
  'jwt.managed.encryptionKey: is not the one that the keys in the table are encrypted under; give that one too, behind the new one';

/** In the order in which they became active, a pending one last. */
async function readAll(manager: EntityManager): Promise<SigningKeyEntity[]> {
  const rows = await manager.find(SigningKeyEntity);
  return rows.sort((a, b) => activeAt(a) - activeAt(b) || (a.kid < b.kid ? -1 : 1));
}

function activeAt(row: SigningKeyEntity): number {
  return row.activeAt?.getTime() ?? Infinity;
}

/** The one that signs at this time. */
function signingAt(rows: readonly SigningKeyEntity[], now: number): SigningKeyEntity | undefined {
  return rows.findLast((row) => activeAt(row) <= now) ?? undefined;
}
