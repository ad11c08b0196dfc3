import { setImmediate as nextTurn } from 'node:timers/promises';
import { ServerFaultError } from '../errors.js';
import { importedRow } from './batch.js';
import type { ImportPlan, ImportResult } from './options.js';
import { isOneOf, type Source, type SourceRow, type SourceValue } from './source.js';
import type { Conversion, Converted } from './system.js';
import { Tally } from './tally.js';
import type { Change, Target } from './target.js';
import { type ImportedRow, type KnownAlias, MAX_BATCH } from './target-sql.js';

const NONE: ReadonlyMap<string, KnownAlias> = new Map();
/**
 * How many sessions are updated or removed in one transaction. It is one statement for each, and their refreshes wait for its end,
 * as another run does.
 */
const MAX_CHANGES = 100;
/** Before every numeric primary key. */
const FIRST_NUMBER = -1;

/**
 * Imports the sessions of one system.
 *
 * 1. Read the old sessions in the order of their primary key, and insert those that have no alias yet, each together with its
 *    alias.
 * 2. If there were aliases before, update sessions that the old system has changed, and remove those that it has ended. Both
 *    are compare-and-swap on sessions that have not been used here, and happen only before the cut-over.
 *
 * Each batch is one transaction. The import can be ended at any time and run again. After each batch, it lets other work of the
 * process run, such as the handlers of signals: SQLite never does.
 */
export class Importer {
  private readonly tally = new Tally();
  /** Sessions that the lifetimes of their policy end at once, by type. */
  readonly overdue: Record<string, number> = {};
  private isCutOver = false;
  private isFirstRun = true;

  constructor(
    private readonly plan: ImportPlan,
    private readonly source: Source,
    private readonly target: Target,
    private readonly conversion: Conversion,
    private readonly hasOptional: boolean,
  ) {}

  async run(): Promise<ImportResult> {
    const { plan, target, tally } = this;
    this.isCutOver = await target.isCutOver();
    this.isFirstRun = !(await target.hasAliases());
    const isRepeated = !this.isFirstRun;
    await this.importAll();
    if (isRepeated && !this.isCutOver && !this.isAborted) await this.removeEnded();
    const declares = plan.options.cutover === true && !this.isAborted;
    if (declares && !plan.options.dryRun) await target.cutOver();
    return tally.result(plan, { interrupted: this.isAborted, cutOver: this.isCutOver || declares });
  }

  private get isAborted(): boolean {
    return this.plan.options.signal?.aborted === true;
  }

  // ─── Importing ────────────────────────────────────────────────────────────────────────────────────────────────────────

  private async importAll(): Promise<void> {
    const { options, system } = this.plan;
    const [{ total }] = await this.source.query<{ total: SourceValue }>(
      `SELECT COUNT(*) AS total FROM ${system.tables[0].name}`,
      {},
    );
    let next = this.readPage();
    for (;;) {
      const page = await next;
      if (page.length === 0 || this.isAborted) return;
      // Read the next page while this one is written.
      next = this.readPage(page.at(-1));
      // If this batch fails, the next page is never awaited.
      next.catch(() => undefined);
      await this.importPage(page);
      this.tally.read += page.length;
      options.onProgress?.({ phase: 'import', done: this.tally.read, total: Number(total) });
      await nextTurn();
    }
  }

  private readPage(last?: SourceRow): Promise<SourceRow[]> {
    const { system, batchSize } = this.plan;
    const { primaryKey, tables } = system;
    const [{ name }] = tables;
    const first = this.source.isWholeNumber(name, primaryKey) ? FIRST_NUMBER : '';
    return this.source.query(
      `SELECT ${system.select(this.source.dialect)} FROM ${name}
       WHERE ${primaryKey} > :after ORDER BY ${primaryKey} LIMIT :limit`,
      { after: last ? last[primaryKey] : first, limit: batchSize },
    );
  }

  private async importPage(page: readonly SourceRow[]): Promise<void> {
    const rows = await this.convertPage(page);
    const known = this.isFirstRun ? NONE : await this.target.find(rows.map(({ oldKey }) => oldKey as string));
    const fresh = rows.filter(({ aliasId }) => !known.has(aliasId as string));
    await this.update(rows, known);
    const found = (await this.insertAll(fresh)) ?? (await this.insertEach(fresh));
    await this.update(fresh, found);
  }

  /** Updates those of the rows that are known and have changed. */
  private async update(rows: readonly ImportedRow[], known: ReadonlyMap<string, KnownAlias>): Promise<void> {
    const { tally, target, plan } = this;
    const changes = rows.flatMap((row) => this.changeOf(row, known.get(row.aliasId as string)));
    if (plan.options.dryRun) {
      tally.updated += changes.length;
      return;
    }
    while (changes.length > 0) {
      const batch = changes.splice(0, MAX_CHANGES);
      const missed = await target.update(batch);
      if (!missed) this.isCutOver = true;
      // The new server or another run has changed these. Look again.
      const again = missed ?? batch;
      tally.updated += batch.length - again.length;
      const found = await target.find(again.map(({ row }) => row.oldKey as string));
      changes.push(...again.flatMap(({ row }) => this.changeOf(row, found.get(row.aliasId as string))));
    }
  }

  /** Returns the rows to import. Counts the others. */
  private async convertPage(page: readonly SourceRow[]): Promise<ImportedRow[]> {
    const { plan, tally } = this;
    return (await this.convert(page)).flatMap(({ converted, oldKey }) => {
      if ('fault' in converted) return (tally.fail(oldKey, converted.fault), []);
      if ('skip' in converted) return (tally.skip(converted.skip), []);
      const { session } = converted;
      const userId = this.userIdOf(session.userId);
      if (userId === undefined) return (tally.skip('wrong-user-id'), []);
      const row = importedRow({ ...session, userId }, plan);
      if (typeof row === 'string') return (tally.fail(oldKey, row), []);
      this.noteLifetime(row);
      return [row];
    });
  }

  private async convert(page: readonly SourceRow[]): Promise<{ oldKey: string; converted: Converted }[]> {
    const { system } = this.plan;
    const found = (await system.lookUp?.(page, this.source, this.hasOptional)) ?? new Set<string>();
    return page.map((row) => ({
      oldKey: String(row[system.keyColumn]),
      converted: system.convert(row, this.conversion, found),
    }));
  }

  /** Returns the id of a user if it is of the right kind. Drivers return large numbers as texts. */
  private userIdOf(userId: string | number): string | number | undefined {
    const { system, config } = this.plan;
    const isNumber = typeof userId === 'number' || this.source.isWholeNumber(system.tables[0].name, 'user_id');
    if (isNumber !== (config.tokens.userIdType === 'number')) return undefined;
    return !isNumber || Number.isSafeInteger(Number(userId)) ? userId : undefined;
  }

  private noteLifetime(row: ImportedRow): void {
    if (!this.plan.options.dryRun) return;
    const { policies, now } = this.conversion;
    const type = row.type as string;
    const date = (time: number | null) => new Date(time as number);
    const state = {
      type,
      createdAt: date(row.createdAt),
      lastUpdate: date(row.lastUpdate),
      rotatedAt: new Date(0),
      expiresAt: date(row.expiresAt),
    };
    if (!policies.isActive(state, now)) this.overdue[type] = (this.overdue[type] ?? 0) + 1;
  }

  /**
   * Inserts rows in one transaction.
   * @returns the aliases that another run has inserted in the meantime. Undefined if the database refuses one of the rows
   */
  private async insertAll(rows: readonly ImportedRow[]): Promise<ReadonlyMap<string, KnownAlias> | undefined> {
    const { tally, plan } = this;
    if (plan.options.dryRun) {
      tally.imported += rows.length;
      return NONE;
    }
    try {
      const { ended, known } = await this.target.insert(rows);
      tally.imported += rows.length - ended.size - known.size;
      tally.skip('ended-here', ended.size);
      if (known.size > 0) this.isFirstRun = false;
      return known;
    } catch (error) {
      if (!(error instanceof ServerFaultError)) throw error;
      return undefined;
    }
  }

  /** Inserts rows one by one, so that only those fail that the database refuses. */
  private async insertEach(rows: readonly ImportedRow[]): Promise<ReadonlyMap<string, KnownAlias>> {
    const all = new Map<string, KnownAlias>();
    for (const row of rows) {
      const oldKey = row.oldKey as string;
      const known = (await this.insertAll([row])) ?? (await this.refused(oldKey));
      for (const [id, alias] of known) all.set(id, alias);
    }
    return all;
  }

  /** Finds why the database refused a row: a run for another database of the same system may have inserted its key. */
  private async refused(oldKey: string): Promise<ReadonlyMap<string, KnownAlias>> {
    const known = await this.target.find([oldKey]);
    if (known.size === 0) this.tally.fail(oldKey, 'the new database refuses it; its error is above');
    return known;
  }

  /** Returns how a session that is imported already has changed. Counts it if it has not, or must not change. */
  private changeOf(row: ImportedRow, known?: KnownAlias): Change[] {
    const { tally } = this;
    if (!known) return [];
    const { refreshJti, token } = row;
    // Two databases of one system may use the same keys. The session of the other one stays.
    if (known.userId !== row.userId) {
      tally.fail(row.oldKey as string, 'a session of another user was imported under the same key');
      return [];
    }
    if (known.refreshJti === null) return (tally.skip('ended-here'), []);
    if (!known.isUnused) return (tally.skip('used-here'), []);
    // If the old system does not record the time of a use, that of the first import stays.
    const isRecorded = row.token !== null && this.plan.system.name !== 'supertokens-django-ref-jwt';
    const lastUpdate = isRecorded ? (row.lastUpdate as number) : known.lastUpdate;
    const expiresAt = row.token === null ? known.expiresAt : (row.expiresAt as number);
    const isSame = refreshJti === known.refreshJti && lastUpdate === known.lastUpdate && expiresAt === known.expiresAt;
    if (isSame) return (tally.skip('already-imported'), []);
    if (this.isCutOver) return (tally.skip('after-cutover'), []);
    return [{ row, known, refreshJti: refreshJti as string, token, expiresAt, lastUpdate }];
  }

  // ─── Removing ─────────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Removes sessions that the old system has ended. */
  private async removeEnded(): Promise<void> {
    const { options } = this.plan;
    let done = 0;
    for (let after = ''; !this.isAborted;) {
      const page = await this.target.list(after);
      if (page.length === 0) return;
      after = page[page.length - 1].id;
      const unused = page.filter(({ isUnused }) => isUnused);
      const live = await this.liveKeys(unused.map(({ oldKey }) => oldKey));
      const ended = unused.filter(({ oldKey }) => !live.has(oldKey));
      if (options.dryRun) this.tally.removed += ended.length;
      else while (ended.length > 0) this.tally.removed += await this.target.remove(ended.splice(0, MAX_CHANGES));
      done += page.length;
      options.onProgress?.({ phase: 'remove', done });
      await nextTurn();
    }
  }

  /** Returns which of these keys the old system still has as live sessions. */
  private async liveKeys(oldKeys: readonly string[]): Promise<ReadonlySet<string>> {
    const { system } = this.plan;
    if (oldKeys.length === 0) return new Set();
    const { condition, values } = isOneOf(system.keyColumn, oldKeys, MAX_BATCH);
    const rows = await this.source.query(
      `SELECT ${system.select(this.source.dialect)} FROM ${system.tables[0].name} WHERE ${condition}`,
      values,
    );
    // A row that cannot be read any more is not proof that the session has ended.
    const live = (await this.convert(rows)).filter(({ converted }) => !('skip' in converted));
    return new Set(live.map(({ oldKey }) => oldKey));
  }
}
