import { AsyncLocalStorage } from 'node:async_hooks';
import type { DataSource, QueryRunner } from 'typeorm';

/** A transaction that the application has begun, as the code inside it sees it. */
interface Scope {
  readonly dataSource: DataSource;
  isOpen: boolean;
}

const scopes = new AsyncLocalStorage<Scope>();
const watched = new WeakSet<object>();
/** The methods that a watched query runner had before. */
const originals = new WeakMap<QueryRunner, Pick<QueryRunner, 'startTransaction'>>();
let open = 0;

/**
 * Watches the transactions that the application begins on this DataSource, so that `isInsideTransaction` knows them. Node
 * follows the calls inside of a transaction only while one is open. Otherwise this costs nothing.
 */
export function watchTransactions(dataSource: DataSource): void {
  if (watched.has(dataSource)) return;
  watched.add(dataSource);
  const { manager } = dataSource;
  const createQueryRunner = dataSource.createQueryRunner.bind(dataSource);
  dataSource.createQueryRunner = (mode) => {
    const runner = createQueryRunner(mode);
    // SQLite has one query runner for everything.
    if (!watched.has(runner)) watch(runner, dataSource);
    return runner;
  };
  const transaction = manager.transaction.bind(manager) as (...given: unknown[]) => Promise<unknown>;
  // The inner scope is set within this call, so that code beside the transaction does not seem to be inside of it.
  manager.transaction = (...given: unknown[]) => scopes.run(closed(dataSource), () => transaction(...given));
}

/** Whether the calling code runs inside of a transaction that the application has begun on this DataSource. */
export function isInsideTransaction(dataSource: DataSource): boolean {
  const scope = open > 0 ? scopes.getStore() : undefined;
  return scope?.dataSource === dataSource && scope.isOpen;
}

/** Begins a transaction of this library. The code inside of it does not count as the application's. */
export function startOwnTransaction(
  runner: QueryRunner,
  ...given: Parameters<QueryRunner['startTransaction']>
): Promise<void> {
  return (originals.get(runner) ?? runner).startTransaction(...given);
}

function closed(dataSource: DataSource): Scope {
  return { dataSource, isOpen: false };
}

function watch(runner: QueryRunner, dataSource: DataSource): void {
  watched.add(runner);
  const [start, commit, rollBack] = [
    runner.startTransaction.bind(runner),
    runner.commitTransaction.bind(runner),
    runner.rollbackTransaction.bind(runner),
  ];
  originals.set(runner, { startTransaction: start });
  const stack: Scope[] = [];
  const leave = () => {
    const scope = stack.pop();
    if (!scope) return;
    scope.isOpen = false;
    if (--open === 0) scopes.disable();
  };
  runner.startTransaction = async (...given) => {
    const scope = { dataSource, isOpen: true };
    stack.push(scope);
    open++;
    // Runs before the first `await`, so that the caller is inside of the scope when this returns.
    scopes.enterWith(scope);
    try {
      await start(...given);
    } catch (error) {
      leave();
      throw error;
    }
  };
  runner.commitTransaction = () => commit().then(leave);
  runner.rollbackTransaction = () => rollBack().finally(leave);
}
