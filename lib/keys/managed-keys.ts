import { Logger } from '@nestjs/common';
import type { EntityManager } from 'typeorm';
import type { Database } from '../database/database.js';
import type { SendSql } from '../database/sql.js';
import type { Epochs } from '../database/epochs.js';
import { Job, type JobTurn } from '../database/job.js';
import { CLOCK_MARGIN, JOB_LEASE, LOCK_WAIT } from '../engine/timing.js';
import { MultiSessionConfigurationError } from '../errors.js';
import type { Keyring } from '../token/keyring.js';
import type { JwtAlgorithm } from '../token/key-options.js';
import type { ManagedKeyConfig } from '../token/options.js';
import { insertKey, raiseLifetimes, readKeys, sealOf } from './key-rows.js';
import { type KeySpans, type KeyStep, nextStep, signingAt, signingSpans } from './schedule.js';
import { generateKey, KeySealer, type ManagedKey, sealedEpoch } from './sealed-key.js';
import { SigningKeyEntity } from './signing-key.entity.js';

/** The time spans that decide whether replacing a key is safe. See `KeySpans`. */
export interface ManagedKeyTimes extends Pick<KeySpans, 'activation' | 'retention'> {
  /** The longest lifetime of a token that this process signs, in milliseconds. */
  readonly longestLifetime: number;
}

/** Returns whether this key has signed the refresh token of a live session. */
export type IsKeyInUse = (kid: string) => Promise<boolean>;

/** Whether a managed key will sign, signs, or only verifies the tokens that it has signed. */
export type KeyState = 'pending' | 'active' | 'replaced';

/** A managed key, as `ManagedKeys.list` describes it. */
export interface DescribedKey extends Pick<SigningKeyEntity, 'kid' | 'algorithm' | 'createdAt' | 'activeAt'> {
  readonly state: KeyState;
}

/** Name of the job that serializes all changes of the keys across processes. */
const JOB = 'signing-keys';
/** The kid of no key. */
const NO_KEY = '';
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
 * Invariants:
 * - A process that is up to date knows the key of every token it receives. After a key's commit, a process reads it and sets its
 *   `activeAt` to `activation` from then. A process that has not read the key by that time has not polled for a long time. It knows
 *   that it is stale, and answers 503.
 * - Before a process signs with a key, the key's row states at least the longest lifetime of that process's tokens. A key is kept
 *   for as long as its row says, whatever the policies of the process that deletes it.
 * - A key is used only in the epoch of the database in which it was sealed. A restored backup revives none.
 */
export class ManagedKeys {
  private readonly logger = new Logger('MultiSession');
  private readonly sealer: KeySealer;
  private readonly job: Job;
  /** The decrypted keys by their rows. Null for a key that cannot be decrypted, so that the failure is logged only once. */
  private readonly opened = new Map<string, ManagedKey | null>();
  private readonly checkedAt = new Map<string, number>();
  /** Identifies the keys that the keyring has now; empty before the table has been read. */
  private inKeyring = '';
  private canSign = false;
  private maintaining?: Promise<void>;
  private reads = 0;
  /** The last read whose result is in the keyring. An earlier one that ends later must not restore a revoked key. */
  private appliedRead = 0;

  /**
   * @param config Default: keys are not managed. `rotate` and `revoke` then throw, and the other methods do nothing.
   * @param now the database's time, in milliseconds since 1970
   * @param isInUse asked before a key is deleted, outside of a transaction, because the answer may take minutes
   */
  constructor(
    private readonly database: Database,
    private readonly keyring: Keyring,
    private readonly config: ManagedKeyConfig | undefined,
    private readonly times: ManagedKeyTimes,
    private readonly now: () => number,
    private readonly epochs: Pick<Epochs, 'current' | 'isKnown' | 'load' | 'matches' | 'poll'>,
    private readonly isInUse: IsKeyInUse,
  ) {
    this.job = new Job(database, JOB, JOB_LEASE);
    this.sealer = new KeySealer(config?.encryptionKeys ?? []);
  }

  /** Whether the option `jwt.managed` is set. */
  get isOn(): boolean {
    return this.config !== undefined;
  }

  /** Whether the table has been read and one of its keys can sign. True if keys are not managed. */
  get isLoaded(): boolean {
    return !this.config || this.canSign;
  }

  /**
   * Reads the keys, and creates the first one if the table is empty. If the database is unavailable, the polls do it later.
   * @throws MultiSessionConfigurationError if none of the encryption keys decrypts the key that signs
   */
  async start(): Promise<void> {
    if (!this.config) return;
    try {
      if (!this.epochs.isKnown) await this.epochs.load();
      await this.doNextStep('wait');
      const rows = await this.database.run((manager) => this.read(manager));
      // Only at start: otherwise two running versions of an application would replace each other's keys forever.
      if (rows.at(-1)?.algorithm !== this.config.algorithm) await this.rotate();
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
    if (this.maintaining || !this.nextStep(rows, this.now())) return;
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
      if (!this.current(rows).some((row) => row.activeAt === null)) await this.create(manager, null);
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
    await this.underLock('wait', async (manager, rows, now) => {
      await manager.delete(SigningKeyEntity, { kid });
      if (signingAt(this.current(rows), now)?.kid === kid) await this.create(manager, now);
    });
    await this.database.run((manager) => this.read(manager));
  }

  /**
   * Lists the keys in the order in which they sign, without their key material. Empty if `jwt.managed` is not set.
   * @throws UnavailableError if the database is unavailable
   */
  async list(): Promise<DescribedKey[]> {
    if (!this.config) return [];
    const keys = this.current(await readKeys((sql, values) => this.database.query(sql, values)));
    const active = keys.findIndex((key) => key === signingAt(keys, this.now()));
    return keys.map(({ kid, algorithm, createdAt, activeAt }, at) => ({
      kid,
      algorithm,
      createdAt,
      activeAt,
      state: at === active ? 'active' : at < active ? 'replaced' : 'pending',
    }));
  }

  /** Reads the table, and updates the keyring if anything has changed. */
  private async read(manager: EntityManager): Promise<SigningKeyEntity[]> {
    const read = ++this.reads;
    const send: SendSql = (sql, values) => this.database.queryWithin(LOCK_WAIT, sql, values, manager);
    const rows = await readKeys(send);
    const now = this.now();
    const current = this.current(rows);
    const signing = signingAt(current, now);
    await raiseLifetimes(send, current.slice(signing ? current.indexOf(signing) : 0), this.times.longestLifetime);
    if (read < this.appliedRead) return rows;
    this.appliedRead = read;
    const keys = current.flatMap((row) => this.open(row) ?? []);
    const known = new Set(rows.map(sealOf));
    for (const key of this.opened.keys()) if (!known.has(key)) this.opened.delete(key);
    this.canSign = keys.some((key) => key.kid === signing?.kid);
    // Use the others nevertheless: a revoked key must not stay.
    const kid = (this.canSign && signing?.kid) || NO_KEY;
    const state = JSON.stringify([keys.map((key) => key.kid), kid]);
    if (state !== this.inKeyring) this.keyring.use(keys, kid, signingSpans(current, this.times.activation));
    this.inKeyring = state;
    return rows;
  }

  /** Returns the keys of the current epoch. Those of an earlier one came back with a backup. */
  private current(rows: readonly SigningKeyEntity[]): SigningKeyEntity[] {
    return rows.filter((row) => this.epochs.matches(sealedEpoch(row.sealed)));
  }

  private open(row: SigningKeyEntity): ManagedKey | null {
    const { kid, algorithm, activeAt, sealed } = row;
    let key = this.opened.get(sealOf(row));
    if (key === undefined) {
      key = this.sealer.open({ kid, algorithm: algorithm as JwtAlgorithm, activeAt, sealed }) ?? null;
      if (!key) this.logger.error(`the signing key ${kid} cannot be decrypted: ${WRONG_ENCRYPTION_KEY}`);
      this.opened.set(sealOf(row), key);
    }
    return key;
  }

  private nextStep(rows: readonly SigningKeyEntity[], now: number): NextStep | undefined {
    const current = this.current(rows);
    if (this.epochs.isKnown && current.length < rows.length) return { do: 'discard' };
    const { rotateEvery } = this.config as ManagedKeyConfig;
    const mayRetire = (kid: string) => now >= (this.checkedAt.get(kid) ?? 0) + CHECK_AGAIN_AFTER;
    return nextStep(current, now, { ...this.times, rotateEvery }, mayRetire);
  }

  /** Does the step that is due. Decides again under the lock, because another process may have done the step already. */
  private async doNextStep(ifHeld: 'wait' | 'give-up'): Promise<void> {
    let replaced: string | undefined;
    await this.underLock(ifHeld, async (manager, rows, now) => {
      let step = this.nextStep(rows, now);
      if (step?.do === 'discard') {
        // The epoch in memory may be older than the keys.
        await this.epochs.poll(manager);
        const current = this.current(rows);
        await this.discard(
          manager,
          rows.filter((row) => !current.includes(row)),
        );
        step = this.nextStep(current, now);
      }
      if (step?.do === 'create') return this.create(manager, step.activeAt);
      if (step?.do === 'activate') return this.activate(manager, rows, step);
      if (step?.do === 'retire') replaced = step.kid;
    });
    if (replaced !== undefined) await this.retire(replaced, ifHeld);
  }

  /** @param work gets the rows and the time, in milliseconds since 1970 */
  private async underLock(
    ifHeld: 'wait' | 'give-up',
    work: (manager: EntityManager, rows: SigningKeyEntity[], now: number) => Promise<void>,
  ): Promise<void> {
    const locked = async (manager: EntityManager, turn: JobTurn) => {
      const now = this.now();
      const rows = await readKeys((sql, values) => this.database.query(sql, values, manager));
      // The machine may have been suspended since the last poll.
      return work(manager, rows, turn.now - now > CLOCK_MARGIN ? turn.now : now);
    };
    if (ifHeld === 'wait') return this.job.takeOver(locked);
    await this.job.run(locked);
    await this.job.release();
  }

  /**
   * Creates a key and stores it.
   * @param activeAt in milliseconds since 1970; null for a pending key
   */
  private async create(manager: EntityManager, activeAt: number | null): Promise<void> {
    const key = await generateKey((this.config as ManagedKeyConfig).algorithm);
    const { kid, algorithm } = key;
    const signsAt = activeAt === null ? null : new Date(activeAt);
    const row: SigningKeyEntity = {
      kid,
      algorithm,
      sealed: this.sealer.seal(key, signsAt, this.epochs.current),
      createdAt: new Date(this.now()),
      activeAt: signsAt,
      longestLifetime: this.times.longestLifetime,
    };
    await insertKey(manager, row);
    this.logger.log(`created the signing key ${kid}`);
  }

  private async activate(
    manager: EntityManager,
    rows: readonly SigningKeyEntity[],
    { kid, activeAt }: { kid: string; activeAt: number },
  ): Promise<void> {
    const row = rows.find((one) => one.kid === kid);
    const key = row && this.open(row);
    // A process that has the encryption key activates it.
    if (!key) return;
    const signsAt = new Date(activeAt);
    const sealed = this.sealer.seal(key, signsAt, this.epochs.current);
    await manager.update(SigningKeyEntity, { kid }, { activeAt: signsAt, sealed });
  }

  /** Deletes keys that a restored backup has revived. No token of theirs is valid. */
  private async discard(manager: EntityManager, rows: readonly SigningKeyEntity[]): Promise<void> {
    for (const { kid } of rows) {
      await manager.delete(SigningKeyEntity, { kid });
      this.logger.log(`deleted the signing key ${kid}, which is older than the epoch of the database`);
    }
  }

  /** Deletes a replaced key if no live session needs it. It does not sign any more, so no session can begin to need it. */
  private async retire(kid: string, ifHeld: 'wait' | 'give-up'): Promise<void> {
    this.checkedAt.set(kid, this.now());
    if (await this.isInUse(kid)) return;
    await this.underLock(ifHeld, async (manager, rows, now) => {
      const { rotateEvery } = this.config as ManagedKeyConfig;
      const step = nextStep(this.current(rows), now, { ...this.times, rotateEvery }, (one) => one === kid);
      if (step?.do !== 'retire') return;
      await manager.delete(SigningKeyEntity, { kid });
      this.logger.log(`retired the signing key ${kid}`);
    });
  }

  private assertOn(): void {
    if (this.config) return;
    throw new MultiSessionConfigurationError(
      [
        'jwt.managed: is not set, so there are no managed keys to rotate or revoke; set it, or change the keys in jwt.keys',
      ],
      'runtime',
    );
  }
}

type NextStep = KeyStep | { readonly do: 'discard' };
