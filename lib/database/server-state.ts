import type { EntityManager } from 'typeorm';
import type { DatabaseKind } from './dialect.js';

/** The statement reached a server that is not the current, writable primary. What it reads there may be old. */
export class WrongServerError extends Error {}

export const READ_ONLY = 'the server is read-only: a standby, or a former primary';

/** Values of `wsrep_local_state`: the node has every write, or it waits for them where `wsrep_sync_wait` asks it to. */
const GALERA_STATES: ReadonlySet<string> = new Set(['4', '2']);

const GALERA_SETTINGS = `SHOW GLOBAL VARIABLES
  WHERE (Variable_name = 'wsrep_on' AND Value = 'ON') OR (Variable_name = 'wsrep_provider' AND Value <> 'none')`;
const GALERA_STATUS = `SHOW GLOBAL STATUS
  WHERE Variable_name IN ('wsrep_ready', 'wsrep_cluster_status', 'wsrep_local_state')`;

/** Whether a value of `Dialect.readOnly` says that the server or the transaction is read-only. Some versions return a text. */
export function isReadOnly(value: unknown): boolean {
  const text = String(value).toLowerCase();
  return text !== '0' && text !== 'off';
}

/**
 * Checks whether a server is the current, writable primary. A standby, a replica and a node that has lost its cluster answer
 * reads too, but with old data.
 */
export class ServerCheck {
  private galera = false;
  private checked?: string;

  constructor(private readonly kind: DatabaseKind) {}

  /** Whether the server is a node of a Galera cluster. False until the first check. */
  get isGalera(): boolean {
    return this.galera;
  }

  /**
   * Checks the server that has answered. On Galera, the connection then reads only after its node has applied every write of
   * the cluster.
   * @param state what a statement on this connection has read: `Dialect.readOnly` and `Dialect.serverIdentity`
   * @returns whether the statement may have read old data, so that it must be sent again: on Galera
   * @throws WrongServerError if the server is not the current, writable primary
   */
  async mustReadAgain(manager: EntityManager, state: { isReadOnly: boolean; identity: string }): Promise<boolean> {
    if (state.isReadOnly) throw new WrongServerError(READ_ONLY);
    if (this.kind === 'mysql') await this.readGalera(manager, state.identity);
    return this.galera;
  }

  private async readGalera(manager: EntityManager, identity: string): Promise<void> {
    if (identity !== this.checked) this.galera = (await manager.query<unknown[]>(GALERA_SETTINGS)).length === 2;
    this.checked = identity;
    if (!this.galera) return;
    const rows = await manager.query<{ Variable_name: string; Value: string }[]>(GALERA_STATUS);
    const status = Object.fromEntries(rows.map(({ Variable_name: name, Value: value }) => [name, value]));
    const isReady = status.wsrep_ready === 'ON' && status.wsrep_cluster_status === 'Primary';
    if (!isReady || !GALERA_STATES.has(status.wsrep_local_state))
      throw new WrongServerError(`the Galera node is not ready: ${JSON.stringify(status)}`);
    await manager.query('SET SESSION wsrep_sync_wait = 1');
  }
}
