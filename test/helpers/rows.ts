import { BlacklistEntity, SessionEntity } from 'nestjs-multisession';
import { DataSource } from 'typeorm';
import type { TestApp } from './app.js';

/** Returns all stored rows in a stable order, to show that a request changed nothing. */
export async function rowsOf(app: TestApp): Promise<{ sessions: SessionEntity[]; blacklist: BlacklistEntity[] }> {
  const { manager } = app.get(DataSource);
  return {
    sessions: await manager.find(SessionEntity, { order: { id: 'ASC' } }),
    blacklist: await manager.find(BlacklistEntity, { order: { id: 'ASC' } }),
  };
}
