import { Logger } from '@nestjs/common';
import type { EntityManager } from 'typeorm';
import type { Database } from '../database/database.js';
import { MultiSessionConfigurationError } from '../errors.js';
import type { Keyring } from '../token/keyring.js';
import type { JwtAlgorithm, ManagedKeyConfig } from '../token/options.js';
import { inSigningOrder, type KeySpans, type KeyStep, nextStep, signingAt } from './schedule.js';
import { generateKey, KeySealer, type ManagedKey } from './sealed-key.js';
import { SigningKeyEntity } from './signing-key.entity.js';

/** The time spans that decide whether replacing a key is safe. See `KeySpans`. */
export type ManagedKeyTimes = Pick<KeySpans, 'activation' | 'retention'>;

/** Returns whether this key has signed the refresh token of a live session. */
export type IsKeyInUse = (manager: EntityManager, kid: string) => Promise<boolean>;

/** Name of the lock that serializes all changes of the keys across processes. */
const LOCK = 'signing-keys';
/** Milliseconds between two checks of whether a key is in use. The check is expensive, because it reads every session. */
const CHECK_AGAIN_AFTER = 3_600_000;
const WRONG_ENCRYPTION_KEY =
  'jwt.managed.encryptionKey: does not decrypt the keys in the table session_signing_key; add the key that they were encrypted with to the list, after the new one';

/**
 * Creates the signing keys of `jwt.managed`, stores them encrypted in a table, and replaces them.
 *
 * A key is *pending* from its commit, and *active* from its `activeAt` until its successor becomes active. It is *retired*, that is
 * deleted, when no live token can have been signed by it. Every process reads the table with each poll.
 *
 * Invariant: a process that is up to date knows the key of every token it receives. After a key's commit, a process reads it and
 * sets its `activeAt` to `activation` from then. A process that has not read the key by that time has not polled for a long time.
 * It knows that it is stale, and answers 503.
 */
export class ManagedKeys {
  private readonly logger = new Logger('MultiSession');
  private readonly sealer: KeySealer;
  /** The decrypted keys by kid. Null for a key that cannot be decrypted, so that the failure is logged only once. */
  private readonly opened = new Map<string, ManagedKey | null>();
  private readonly checkedAt = new Map<string, number>();
  /** Identifies the keys that the keyring has now; empty before the table has been read. */
  private inKeyring = '';
  private maintaining?: Promise<void>;

  /**
   * @param config Default: keys are not managed. `rotate` and `revoke` then throw, and the other methods do nothing.
   * @param now the database's time, in milliseconds since 1970
   * @param isInUse asked before a key is deleted
   */
  constructor(
    private readonly database: Database,
    private readonly keyring: Keyring,
    private readonly config: ManagedKeyConfig | undefined,
    private readonly times: ManagedKeyTimes,
    private readonly now: () => number,
    private readonly isInUse: IsKeyInUse,
  ) {
    this.sealer = new KeySealer(config?.encryptionKeys ?? []);
  }

  /** Whether the option `jwt.managed` is set. */
  get isOn(): boolean {
    return this.config !== undefined;
  }

  /** Whether the table has been read and one of its keys can sign. True if keys are not managed. */
  get isLoaded(): boolean {
    return !this.config || this.inKeyring !== '';
  }

  /**
   * Reads the keys, and creates the first one if the table is empty. If the database is unavailable, the polls do it later.
   * @throws MultiSessionConfigurationError if none of the encryption keys decrypts the key that signs
   */
  async start(): Promise<void> {
    if (!this.config) return;
    try {
      await this.doNextStep('wait');
      const rows = await this.database.run((manager) => this.read(manager));
      // Only at start: otherwise two running versions of an application would replace each other's keys forever.
      if (rows[rows.length - 1].algorithm !== this.config.algorithm) await this.rotate();
    } catch (error) {
      if (error instanceof MultiSessionConfigurationError) throw error;
      this.logger.warn(`the signing keys could not be read; the next poll will retry: ${(error as Error).message}`);
    }
    if (this.opened.size > 0 && !this.isLoaded) throw new MultiSessionConfigurationError([WRONG_ENCRYPTION_KEY]);
  }

  /** Waits for a change of the keys that is under way. */
  async stop(): Promise<void> {
    await this.maintaining?.catch(() => undefined);
  }

  /** Reads the keys as a part of a poll. If a step is due, does it in the background. */
  async poll(manager: EntityManager): Promise<void> {
    if (!this.config) return;
    const rows = await this.read(manager);
    if (this.maintaining || !this.nextStep(rows)) return;
    this.maintaining = this.doNextStep('give-up')
      .catch((error: unknown) => {
        const { message } = error as Error;
        this.logger.warn(`the signing keys could not be maintained; the next poll will retry: ${message}`);
      })
      .finally(() => (this.maintaining = undefined));
  }

  /**
   * Creates a new key now, unless one is pending. It signs as soon as every process knows it. All tokens stay valid.
   * @throws UnavailableError if the database is unavailable
   * @throws MultiSessionConfigurationError if `jwt.managed` is not set
   */
  async rotate(): Promise<void> {
    this.assertOn();
    await this.underLock('wait', async (manager, rows) => {
      if (!rows.some((row) => row.activeAt === null)) await this.create(manager, null);
    });
  }

  /**
   * Deletes a key that was compromised. This process refuses every token that the key signed at once, and other processes do so
   * after their next poll. The users have to log in again. If it is the current key, a new one replaces it at once.
   * @throws UnavailableError if the database is unavailable
   * @throws MultiSessionConfigurationError if `jwt.managed` is not set
   */
  async revoke(kid: string): Promise<void> {
    this.assertOn();
    await this.underLock('wait', async (manager, rows) => {
      await manager.delete(SigningKeyEntity, { kid });
      if (signingAt(rows, this.now())?.kid === kid) await this.create(manager, this.now());
    });
    await this.database.run((manager) => this.read(manager));
  }

  /** Reads the table, and updates the keyring if anything has changed. */
  private async read(manager: EntityManager): Promise<SigningKeyEntity[]> {
    const rows = await readRows(manager);
    for (const kid of this.opened.keys()) if (!rows.some((row) => row.kid === kid)) this.opened.delete(kid);
    const keys = rows.flatMap((row) => this.open(row) ?? []);
    const signing = keys.find((key) => key.kid === signingAt(rows, this.now())?.kid);
    const state = JSON.stringify([keys.map((key) => key.kid), signing?.kid]);
    if (signing && state !== this.inKeyring) {
      this.keyring.use(keys, signing.kid);
      this.inKeyring = state;
    }
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

  private nextStep(rows: readonly SigningKeyEntity[]): KeyStep | undefined {
    const { rotateEvery } = this.config as ManagedKeyConfig;
    const now = this.now();
    const mayRetire = (kid: string) => now >= (this.checkedAt.get(kid) ?? 0) + CHECK_AGAIN_AFTER;
    return nextStep(rows, now, { ...this.times, rotateEvery }, mayRetire);
  }

  /** Does the step that is due. Decides again under the lock, because another process may have done the step already. */
  private async doNextStep(ifHeld: 'wait' | 'give-up'): Promise<void> {
    await this.underLock(ifHeld, async (manager, rows) => {
      const step = this.nextStep(rows);
      if (!step) return;
      switch (step.do) {
        case 'create':
          return this.create(manager, step.activeAt);
        case 'activate':
          await manager.update(SigningKeyEntity, { kid: step.kid }, { activeAt: new Date(step.activeAt) });
          return;
        case 'retire':
          return this.retire(manager, step.kid);
      }
    });
  }

  private async underLock(
    ifHeld: 'wait' | 'give-up',
    work: (manager: EntityManager, rows: SigningKeyEntity[]) => Promise<void>,
  ): Promise<void> {
    await this.database.transaction({ name: LOCK, ifHeld }, async (manager) => work(manager, await readRows(manager)));
  }

  /**
   * Creates a key and stores it.
   * @param activeAt in milliseconds since 1970; null for a pending key
   */
  private async create(manager: EntityManager, activeAt: number | null): Promise<void> {
    const key = await generateKey((this.config as ManagedKeyConfig).algorithm);
    const { kid, algorithm } = key;
    const row: SigningKeyEntity = {
      kid,
      algorithm,
      sealed: this.sealer.seal(key),
      createdAt: new Date(this.now()),
      activeAt: activeAt === null ? null : new Date(activeAt),
    };
    await manager.createQueryBuilder().insert().into(SigningKeyEntity).values(row).updateEntity(false).execute();
    this.logger.log(`created the signing key ${kid}`);
  }

  private async retire(manager: EntityManager, kid: string): Promise<void> {
    this.checkedAt.set(kid, this.now());
    if (await this.isInUse(manager, kid)) return;
    await manager.delete(SigningKeyEntity, { kid });
    this.logger.log(`retired the signing key ${kid}`);
  }

  private assertOn(): void {
    if (this.config) return;
    throw new MultiSessionConfigurationError([
      'jwt.managed: is not set, so there are no managed keys to rotate or revoke; set it, or change the keys in jwt.keys',
    ]);
  }
}

async function readRows(manager: EntityManager): Promise<SigningKeyEntity[]> {
  return inSigningOrder(await manager.find(SigningKeyEntity));
}
