import { Brackets } from 'typeorm';
import type { Database, Transaction } from '../database/database.js';
import type { RevocationTable } from '../revocation/revocation-table.js';
import type { RefreshTokenClaims } from '../token/refresh-token.js';
import { bindingOf, type SenderProof } from './binding.js';
import type { ChangeLog, InlineWriter, SessionChange, SessionNoted } from './change-log.js';
import { type ClientInfo, networkPatterns } from './client-info.js';
import { isSessionId } from './id.js';
import type { PolicyValues } from './policy.js';
import type { PresentedToken } from './presented-token.js';
import {
  type AdoptionValues,
  FIND_NEXT,
  FIND_TO_JUDGE,
  type GenerationValues,
  type JudgedRow,
  RefreshStatements,
  type RefreshValues,
  type Update,
  type UpdatedRow,
  type Variant,
} from './refresh-sql.js';
import type { SeenGeneration } from './seen-generations.js';
import { SessionEntity } from './session.entity.js';
import type { TokenTransport } from './session.js';
import type { TokenRow } from './tokens.js';

/** Who refreshes, and how the token travelled. */
export interface Refresher {
  /** Its address and user agent are written even if unknown. Absent to leave the columns as they are. */
  readonly client?: Required<ClientInfo>;
  /** Default: the session's transport does not matter. */
  readonly transport?: TokenTransport;
  /** Whether the result is to have the replaced client. Works only if `returnsPreviousClient`. Default: false. */
  readonly wantsPreviousClient?: boolean;
  /**
   * What to write about it if it is another client than before. If `returnsPreviousClient`, the statement finds that out.
   * Otherwise the caller does, and leaves this out if the client is the same.
   */
  readonly note?: SessionNoted | undefined;
  /** What to write about the binding. */
  readonly noteOfBinding?: SessionNoted | undefined;
  /** The key that the request proves. Default: none. */
  readonly proof?: SenderProof | undefined;
  /** Whether that key is pending, and becomes the session's with this refresh. Default: false. */
  readonly binds?: boolean;
}

/** The token of a new generation, and who asked for it. */
export interface NextGeneration extends Refresher {
  readonly jti: string;
  readonly kid: string;
}

/** What `touch` records. */
export interface TokenUse extends Refresher {
  /** Whether to set `lastUpdate` even if the policy does not. Default: false. */
  readonly setsLastUpdate?: boolean;
  /**
   * The token was not presented to get a successor, but handed out again. Then its generation is not marked as seen in use,
   * and another client is noticed, but not recorded in place of the one that the current token was issued to. Default: false.
   */
  readonly isHandedOutAgain?: boolean;
}

/** A row after a refresh. `previousClient`: the recorded client, if another one was seen and `wantsPreviousClient`. */
export type RefreshedRow = TokenRow & { previousClient?: ClientInfo };

/** The claims of a refresh token that identify the current generation of a session. */
export type CurrentToken = Pick<RefreshTokenClaims, 'sessionId' | 'type' | 'jti' | 'generation' | 'expiresAt'> &
  Pick<PresentedToken, 'parentJti'>;

/** The claims of a token that is adopted. */
export type AdoptedToken = Pick<RefreshTokenClaims, 'jti' | 'generation' | 'issuedAt'> &
  Required<Pick<RefreshTokenClaims, 'kid'>>;

type CurrentTokenRow = Pick<SessionEntity, 'id' | 'type' | 'refreshJti' | 'generation' | 'expiresAt'>;

/**
 * Reads and updates sessions for refreshes.
 *
 * Invariant: a generation has at most one successor, by compare-and-swap on `refreshJti`.
 */
export class RefreshStore {
  private readonly statements: RefreshStatements;
  private readonly inline?: InlineWriter;

  /** @param assumedAccessSeconds for a row that records no lifetime of its access tokens */
  constructor(
    private readonly database: Database,
    private readonly revocations: RevocationTable,
    assumedAccessSeconds: number,
    private readonly changes: ChangeLog,
  ) {
    this.inline = this.returnsPreviousClient ? changes.inlineFor('noted') : undefined;
    this.statements = new RefreshStatements(assumedAccessSeconds, this.inline);
  }

  /** Whether the statements of a refresh can return the client that they replace. */
  get returnsPreviousClient(): boolean {
    return this.database.kind === 'postgres';
  }

  /** Finds a session, expired or not, and the database's time by which to judge it. */
  async findToJudge(id: string): Promise<JudgedRow | null> {
    if (!isSessionId(id)) return null;
    const [row] = await this.database.query(FIND_TO_JUDGE, { id });
    return row ?? null;
  }

  /**
   * Replaces the presented token with the next generation if it is the current one, by compare-and-swap.
   * @param condition.blacklistParent also writes the replaced token to the blacklist
   * @returns the updated row; null if the token is not current, the session is not live under this policy, or the policy does
   * not begin a new generation now
   */
  async rotate(
    token: CurrentToken,
    next: NextGeneration,
    policy: PolicyValues,
    condition: { blacklistParent?: boolean } = {},
  ): Promise<RefreshedRow | null> {
    const statement = this.statements.rotate(policy, this.variantOf(next));
    const update = (transaction: Transaction) => this.begin(statement, token, next, policy, transaction);
    return this.supersede(update, condition.blacklistParent ? token : undefined);
  }

  /**
   * Replaces a current token that was never used, and so was probably lost, with another successor of the same parent.
   * @param condition.blacklistLost also writes the replaced token to the blacklist
   * @param condition.note what is written about it in the same transaction
   * @returns the updated row; null if the row has changed since it was read, or the current token has been used
   */
  async recover(
    row: CurrentTokenRow,
    next: NextGeneration,
    policy: PolicyValues,
    condition: { blacklistLost?: boolean; note?: SessionChange } = {},
  ): Promise<RefreshedRow | null> {
    const lost = currentTokenOf(row);
    const statement = this.statements.recover(policy, this.variantOf(next));
    const update = (transaction: Transaction) => this.begin(statement, lost, next, policy, transaction);
    return this.supersede(update, condition.blacklistLost ? lost : undefined, condition.note);
  }

  /**
   * Makes a token current that the database has lost with the commit of its generation, by compare-and-swap.
   * @param token its claims, with a key
   * @param condition.replacesLost whether it replaces a current token that was never used, and not only follows it
   * @returns the updated row; null if the row has changed since it was read, or the session is not live under this policy
   */
  async adopt(
    row: CurrentTokenRow,
    { jti, kid, generation, issuedAt }: AdoptedToken,
    by: Refresher,
    policy: PolicyValues,
    { replacesLost }: { replacesLost: boolean },
  ): Promise<RefreshedRow | null> {
    const statement = this.statements.adopt(policy, { ...this.variantOf(by), client: 'ignored', replacesLost });
    const adopted = {
      nextGeneration: generation,
      nextJti: jti,
      nextKid: kid,
      nextIssuedAt: issuedAt * 1000,
    };
    const values: AdoptionValues = Object.assign(refreshValues(currentTokenOf(row), by), adopted);
    return this.update([statement, FIND_NEXT], values, { id: row.id, generation, refreshJti: jti }, undefined, {});
  }

  /**
   * Records a use of the current token without replacing it.
   * @returns the row; null if the token is not current, or the session is not live under this policy
   */
  async touch(token: CurrentToken, use: TokenUse, policy: PolicyValues): Promise<RefreshedRow | null> {
    const variant = this.variantOf(use);
    const { isHandedOutAgain = false, setsLastUpdate = policy.setsLastUpdate === 1 } = use;
    const statement = this.statements.touch(policy, {
      client: isHandedOutAgain && use.client ? 'noticed' : variant.client,
      returnsOldClient: variant.returnsOldClient,
      writes: variant.writes,
      binds: variant.binds,
      setsLastUpdate: setsLastUpdate && !isHandedOutAgain,
      confirms: !isHandedOutAgain,
    });
    return this.use(statement, token, use, policy);
  }

  /**
   * Does the same as `touch` for a permanent session, and moves its expiry. Does not write if the last use was less than
   * `touchInterval` ago.
   * @returns the row; null if the token is not current, the session is not live, or the last use was too recent. In that last
   * case, MySQL returns the unchanged row
   */
  async slide(token: CurrentToken, by: Refresher, policy: PolicyValues): Promise<RefreshedRow | null> {
    return this.use(this.statements.slide(policy, this.variantOf(by)), token, by, policy);
  }

  /** Marks generations as seen in use, except those that have been superseded in the meantime. */
  async confirm(batch: readonly SeenGeneration[]): Promise<void> {
    await this.database.run((manager) =>
      manager
        .createQueryBuilder()
        .update(SessionEntity)
        .set({ confirmedGeneration: () => 'generation' })
        .where('confirmedGeneration < generation AND id IN (:...ids)', { ids: batch.map((entry) => entry.sessionId) })
        .andWhere(
          new Brackets((either) => {
            batch.forEach(({ sessionId, generation }, at) =>
              either.orWhere(`(id = :id${at} AND generation = :generation${at})`, {
                [`id${at}`]: sessionId,
                [`generation${at}`]: generation,
              }),
            );
          }),
        )
        .execute(),
    );
  }

  /** Begins a generation. */
  private begin(
    statement: Update<GenerationValues>,
    token: CurrentToken,
    next: NextGeneration,
    policy: PolicyValues,
    transaction: Transaction,
  ): Promise<RefreshedRow | null> {
    const ofGeneration = {
      currentType: policy.currentType,
      parentJti: token.parentJti ?? token.jti,
      nextJti: next.jti,
      nextKid: next.kid,
    };
    const values: GenerationValues = Object.assign(refreshValues(token, next), ofGeneration);
    const known = { id: token.sessionId, generation: token.generation + 1, refreshJti: next.jti };
    return this.update([statement, FIND_NEXT], values, known, transaction, next);
  }

  /** Records a use of the current token. */
  private use(
    statement: Update<RefreshValues>,
    token: CurrentToken,
    by: Refresher,
    policy: PolicyValues,
  ): Promise<RefreshedRow | null> {
    const values = refreshValues(token, by);
    const known = { id: token.sessionId, generation: token.generation, refreshJti: token.jti };
    return this.update([statement, this.statements.findCurrent(policy, by)], values, known, undefined, by);
  }

  /**
   * Updates one row and returns it.
   * @param statements the second one reads the row afterwards on MySQL, whose UPDATE returns no row
   * @param known the columns that the statements do not return
   */
  private async update<V extends object>(
    [update, find]: [Update<V>, Update<V>],
    values: V,
    known: Pick<TokenRow, 'id' | 'generation' | 'refreshJti'>,
    transaction: Transaction,
    by: Pick<Refresher, 'note' | 'noteOfBinding'>,
  ): Promise<RefreshedRow | null> {
    const { note } = by;
    const apart = [this.inline ? undefined : note, by.noteOfBinding].filter((one) => one !== undefined);
    if (apart.length > 0 && !transaction && this.changes.concerns('noted'))
      return this.database.transaction(undefined, (manager) => this.update([update, find], values, known, manager, by));
    const all = note && this.inline ? Object.assign(values, this.inline.values(note)) : values;
    let [row] = await this.database.query(update, all, transaction);
    // The affected row count is no use on MySQL: the driver's flags decide whether it counts an update that changes nothing.
    if (this.database.kind === 'mysql') [row] = await this.database.query(find, values, transaction);
    if (row && transaction) await this.changes.write(transaction, apart);
    return row ? withPreviousClient(Object.assign(row, known)) : null;
  }

  private variantOf({ client, wantsPreviousClient = false, binds = false, note }: Refresher): Variant {
    const returnsOldClient = wantsPreviousClient && client !== undefined && this.returnsPreviousClient;
    return {
      binds,
      client: client ? 'recorded' : 'ignored',
      returnsOldClient,
      writes: returnsOldClient && note !== undefined,
    };
  }

  /** Runs the update. Writes a superseded token to the blacklist, and a note to the change log, in the same transaction. */
  private async supersede(
    update: (transaction: Transaction) => Promise<RefreshedRow | null>,
    superseded: Pick<RefreshTokenClaims, 'jti' | 'expiresAt'> | undefined,
    note?: SessionChange,
  ): Promise<RefreshedRow | null> {
    const notes = note && this.changes.concerns(note.kind) ? [note] : [];
    if (!superseded && notes.length === 0) return update(undefined);
    return this.database.transaction(undefined, async (manager) => {
      const updated = await update(manager);
      if (updated && superseded) {
        const { id: sessionId, userId } = updated;
        const expiresAt = superseded.expiresAt === null ? updated.expiresAt : new Date(superseded.expiresAt);
        const entry = { id: superseded.jti, sessionId, userId, reason: 'rotated', expiresAt };
        await this.revocations.record(manager, 'token', [entry]);
      }
      if (updated) await this.changes.write(manager, notes);
      return updated;
    });
  }
}

/** Returns one literal of all values: V8 is slow with objects that are spread together. */
function refreshValues(
  { sessionId, type, jti, generation }: CurrentToken,
  { client, transport, proof }: Refresher,
): RefreshValues {
  const [network, compressedNetwork] = networkPatterns(client?.ipAddress ?? null);
  return {
    id: sessionId,
    type,
    jti,
    generation,
    transport: transport ?? null,
    binding: proof ? bindingOf(proof) : null,
    userAgent: client?.userAgent ?? null,
    ipAddress: client?.ipAddress ?? null,
    deviceName: client?.deviceName ?? null,
    network,
    compressedNetwork,
  };
}

/** Returns the current token of a row. */
export function currentTokenOf(row: CurrentTokenRow): CurrentToken {
  const { id, type, refreshJti, generation, expiresAt } = row;
  return { sessionId: id, type, jti: refreshJti, generation, expiresAt: expiresAt.getTime() };
}

/** Collects the old client, if the update has replaced it, and clears the computed columns. */
function withPreviousClient(row: UpdatedRow & RefreshedRow): RefreshedRow {
  if (row.askedAt === undefined) return row;
  if (row.clientChangedAt?.getTime() === row.askedAt && row.oldUserAgent !== undefined)
    row.previousClient = {
      userAgent: row.oldUserAgent,
      ipAddress: row.oldIpAddress,
      deviceName: row.oldDeviceName,
    };
  row.askedAt = row.oldUserAgent = row.oldIpAddress = row.oldDeviceName = undefined;
  return row;
}
