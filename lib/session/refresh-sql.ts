import type { Dialect } from '../database/dialect.js';
import type { Sql } from '../database/sql.js';
import type { InlineWriter } from './change-log.js';
import type { PolicyValues } from './policy.js';
import { type ClientUse, piecesOf, type RefreshPieces, setClient } from './refresh-pieces.js';
import { SessionEntity } from './session.entity.js';
import { SESSION, SHOWN } from './session-sql.js';
import type { ShownRow, TokenTransport } from './session.js';

/*
 * The statements of a refresh. Those that write exist once per policy: the numbers of the policy are part of the text, so the
 * database does not read them and need not evaluate conditions that cannot apply. A refresh spends a third of its time there.
 *
 * Every time that they write or compare is the database's own, at the moment when the statement starts. The time of a process
 * is wrong for a while after its machine was suspended. It would then end graces early, or let expired sessions live.
 */

const ENTITIES = [SessionEntity];

/** A session's row and the database's time when it was read. */
export type JudgedRow = SessionEntity & {
  /** Milliseconds since 1970. */
  readonly askedAt: number;
};

/** What a statement returns. The other columns of `TokenRow` follow from the presented token and its successor. */
const GRANTED = `${SHOWN.replace(/^id, /, '')}, parent_jti, refresh_kid`;

/** The row that a statement returns. On PostgreSQL, the client that it has replaced may come with it. */
export type UpdatedRow = Omit<ShownRow, 'id'> &
  Pick<SessionEntity, 'parentJti' | 'refreshKid'> & {
    askedAt?: number;
    oldUserAgent?: string | null;
    oldIpAddress?: string | null;
    oldDeviceName?: string | null;
  };

const asItIs = (value: unknown) => value;
const COMPUTED = {
  asked_at: { property: 'askedAt', read: Number },
  old_user_agent: { property: 'oldUserAgent', read: asItIs },
  old_ip_address: { property: 'oldIpAddress', read: asItIs },
  old_device_name: { property: 'oldDeviceName', read: asItIs },
};

/** The columns of `JudgedRow`. */
export const JUDGED = { columns: `${SESSION}, asked_at`, computed: COMPUTED };

/** `JUDGED.columns` as expressions. */
export const judgedValues = ({ now }: Pick<Dialect, 'now'>): string => `${SESSION}, ${now} AS asked_at`;

/** Selects a row together with the time by which it is judged. */
export const FIND_TO_JUDGE: Sql<{ id: string }, JudgedRow> = {
  entities: ENTITIES,
  ...JUDGED,
  isVerdict: true,
  text: (dialect) => `SELECT ${judgedValues(dialect)} FROM user_session WHERE id = :id`,
};

// ─── Values ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

/** The values that all statements of a refresh have in common. A statement that ignores the client does not send it. */
export interface RefreshValues {
  readonly id: string;
  /** The type in the token. */
  readonly type: string;
  readonly jti: string;
  readonly generation: number;
  /** How the token travelled. The session must use the same transport, or none yet. Null for any. */
  readonly transport: TokenTransport | null;
  /** The key that the request proves: see `bindingOf`. Null if there is none. */
  readonly binding: string | null;
  readonly userAgent: string | null;
  readonly ipAddress: string | null;
  /** Null to keep the old value. */
  readonly deviceName: string | null;
  /** Patterns that match the addresses in the network of `ipAddress`. */
  readonly network: string | null;
  readonly compressedNetwork: string | null;
}

/** The values of `rotate` and `recover`. */
export interface GenerationValues extends RefreshValues {
  /** The type's name, spelled as in the options. */
  readonly currentType: string;
  /** What the row remembers of the presented token once it is the parent: its `jti`, except for some old tokens. */
  readonly parentJti: string;
  readonly nextJti: string;
  readonly nextKid: string;
}

/** The values of `adopt`: those of the row's current token, and those of the token that follows it. */
export interface AdoptionValues extends RefreshValues {
  readonly nextGeneration: number;
  readonly nextJti: string;
  readonly nextKid: string;
  /** In milliseconds since 1970. */
  readonly nextIssuedAt: number;
}

/** What a statement does besides its main task. */
export interface Variant {
  readonly client: ClientUse;
  /** Whether it also returns the client that it replaces. Only for PostgreSQL. */
  readonly returnsOldClient: boolean;
  /** Whether it writes about another client. Only for PostgreSQL, and only if it returns the client that it replaces. */
  readonly writes: boolean;
  /** Whether it binds the session to the pending key, which the request proves for the first time. */
  readonly binds: boolean;
}

/** What `touch` does besides its main task. */
export interface TouchVariant extends Variant {
  /** Whether it sets `last_update`. */
  readonly setsLastUpdate: boolean;
  /** Whether it marks the generation as seen in use. */
  readonly confirms: boolean;
}

// ─── Statements ─────────────────────────────────────────────────────────────────────────────────────────────────────────

export type Update<V extends object> = Sql<V, UpdatedRow>;

/** Makes the statements of a refresh, each once per policy and variant. */
export class RefreshStatements {
  private readonly made = new WeakMap<PolicyValues, Map<string, Update<object>>>();

  /**
   * @param assumedSeconds the lifetime of access tokens for a row that does not record one
   * @param inline writes about another client in the same statement. Default: nothing is written
   */
  constructor(
    private readonly assumedSeconds: number,
    private readonly inline?: InlineWriter,
  ) {}

  /**
   * Replaces the current token with a successor. Presenting a token shows that its generation is in use, so the statement also
   * confirms that generation.
   */
  rotate(policy: PolicyValues, variant: Variant): Update<GenerationValues> {
    return this.update('rotate', policy, variant, ({ setGeneration, isCurrent, mayRotate }) => ({
      set: `${setGeneration}, parent_generation = :generation, confirmed_generation = :generation, parent_jti = :parentJti`,
      where: `${isCurrent} AND ${mayRotate}`,
    }));
  }

  /** Replaces a current token that was never used with another successor of the same parent. */
  recover(policy: PolicyValues, variant: Variant): Update<GenerationValues> {
    return this.update('recover', policy, variant, ({ setGeneration, isCurrent }) => ({
      set: setGeneration,
      where: `${isCurrent} AND confirmed_generation < generation`,
    }));
  }

  /**
   * Makes a token current whose generation the database has lost. Presenting it shows that its generation is in use. A lost
   * extension stays lost: the next rotation extends the session as the policy says then.
   */
  adopt(policy: PolicyValues, variant: Variant & { readonly replacesLost: boolean }): Update<AdoptionValues> {
    const { replacesLost } = variant;
    return this.update(replacesLost ? 'adopt lost' : 'adopt', policy, variant, (pieces) => {
      const { setUse, isCurrent, now, least } = pieces;
      const setParent = replacesLost ? '' : ', parent_generation = :generation, parent_jti = :jti';
      return {
        set: `${setUse} ${setParent}, rotated_at = ${least(':nextIssuedAt', now)},
          generation = :nextGeneration, confirmed_generation = :nextGeneration, refresh_jti = :nextJti, refresh_kid = :nextKid`,
        where: `${isCurrent} ${replacesLost ? 'AND confirmed_generation < generation' : ''}`,
      };
    });
  }

  /** Records a use of the current token without replacing it. */
  touch(policy: PolicyValues, variant: TouchVariant): Update<RefreshValues> {
    const { setsLastUpdate, confirms } = variant;
    const name = `touch${setsLastUpdate ? ' last_update' : ''}${confirms ? ' confirmed' : ''}`;
    return this.update(name, policy, variant, ({ setUse, isCurrent, now }) => ({
      set: `${setUse}
        ${setsLastUpdate ? `, last_update = ${now}` : ''} ${confirms ? ', confirmed_generation = :generation' : ''}`,
      where: isCurrent,
    }));
  }

  /**
   * Does the same as `touch` for a permanent session, and moves its expiry. Changes nothing if the last use was too recent.
   */
  slide(policy: PolicyValues, variant: Variant): Update<RefreshValues> {
    return this.update('slide', policy, variant, ({ setUse, extended, isCurrent, now }) => ({
      set: `${setUse}, confirmed_generation = :generation, expires_at = ${extended}, last_update = ${now}`,
      where: `${isCurrent} AND last_update <= ${now} - ${policy.touchInterval}`,
    }));
  }

  /** Selects the row after `touch` or `slide` on MySQL, whose UPDATE returns no row. */
  findCurrent(policy: PolicyValues, { binds = false }: { binds?: boolean } = {}): Update<RefreshValues> {
    return this.once(binds ? 'find bound' : 'find', policy, () => ({
      entities: ENTITIES,
      columns: GRANTED,
      text: (dialect) =>
        `SELECT ${GRANTED} FROM user_session WHERE ${piecesOf(dialect, policy, this.assumedSeconds).isCurrent}
          ${binds ? 'AND binding = :binding' : ''}`,
    }));
  }

  /**
   * PostgreSQL returns the new values of a row. If somebody wants to know of a change, a subquery also locks the row and reads
   * its old client. That adds a third to the work of the server, so the other statements do not.
   */
  private update<V extends object>(
    name: string,
    policy: PolicyValues,
    variant: Variant,
    partsOf: (pieces: RefreshPieces) => { set: string; where: string },
  ): Update<V> {
    const { client, returnsOldClient, binds, writes } = variant;
    const inline = writes ? this.inline : undefined;
    const flags = [returnsOldClient && ' old', binds && ' binds', inline && ' writes'].filter(Boolean).join('');
    return this.once(`${name} ${client}${flags}`, policy, () => ({
      entities: inline ? [...ENTITIES, ...inline.entities] : ENTITIES,
      columns: returnsOldClient ? `${GRANTED}, ${Object.keys(COMPUTED).join(', ')}` : GRANTED,
      computed: COMPUTED,
      text: (dialect) => {
        const pieces = piecesOf(dialect, policy, this.assumedSeconds);
        const { set, where } = partsOf(pieces);
        const bind = binds ? 'binding = :binding,' : '';
        const change = `UPDATE user_session SET ${bind} ${setClient(client, pieces.now)} ${set}`;
        const isPending = binds ? 'AND pending_binding = :binding' : '';
        if (!returnsOldClient) return `${change} WHERE ${where} ${isPending} ${dialect.returning(GRANTED)}`;
        const returning = dialect.returning(withOldClient(pieces.now));
        const replaced = `${change} ${FROM_LOCKED} WHERE id = old_id AND ${where} ${isPending} ${returning}`;
        if (!inline) return replaced;
        const written = inline.insertFrom('changed WHERE client_changed_at = asked_at', 'asked_at', PREVIOUS_CLIENT);
        const columns = `${GRANTED}, ${Object.keys(COMPUTED).join(', ')}`;
        return `WITH changed AS (${replaced}), written AS (${written}) SELECT ${columns} FROM changed`;
      },
    }));
  }

  private once<V extends object>(key: string, policy: PolicyValues, make: () => Update<V>): Update<V> {
    let ofPolicy = this.made.get(policy);
    if (!ofPolicy) this.made.set(policy, (ofPolicy = new Map<string, Update<object>>()));
    let statement = ofPolicy.get(key) as Update<V> | undefined;
    if (!statement) ofPolicy.set(key, (statement = make()) as Update<object>);
    return statement;
  }
}

const FROM_LOCKED = `
  FROM (
    SELECT id AS old_id, user_agent AS old_user_agent, ip_address AS old_ip_address, device_name AS old_device_name
    FROM user_session WHERE id = :id FOR NO KEY UPDATE
  ) AS locked`;

/** The details of a note about another client, as JSON. */
const PREVIOUS_CLIENT = `json_build_object('previous', json_build_object(
  'user_agent', old_user_agent, 'ip_address', old_ip_address, 'device_name', old_device_name))`;

const withOldClient = (now: string) =>
  `${GRANTED}, ${now} AS asked_at, old_user_agent, old_ip_address, old_device_name`;

/** Selects the row after `rotate`, `recover` or `adopt` on MySQL, whose UPDATE returns no row. */
export const FIND_NEXT: Update<Pick<GenerationValues, 'id' | 'nextJti'>> = {
  entities: ENTITIES,
  columns: GRANTED,
  text: `SELECT ${GRANTED} FROM user_session WHERE id = :id AND refresh_jti = :nextJti`,
};
