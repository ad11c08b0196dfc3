import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { DataSourceOptions } from 'typeorm';
import { DIALECTS } from '../../lib/database/dialect.js';
import type { Engine } from '../../lib/engine/engine.js';
import { ENGINE } from '../../lib/nest/tokens.js';
import type { TestApp } from './app.js';
import type { TestDatabase } from './databases.js';

interface WithFunctions {
  function(name: string, call: () => number): void;
}

/** The time of SQLite, which a test can set forward or back. Create it before the first application. */
export class ShiftedTime {
  private shift = 0;
  private readonly folder = mkdtempSync(join(tmpdir(), 'shifted-'));
  private readonly real = { ...DIALECTS.sqlite };

  constructor() {
    const { now, statementTime } = this.real;
    Object.assign(DIALECTS.sqlite, { now: shifted(now), statementTime: shifted(statementTime) });
  }

  /** A database that shows this time. Applications that share it see the same rows, also one after the other. */
  get database(): TestDatabase {
    const options = {
      type: 'better-sqlite3',
      database: join(this.folder, 'test.sqlite'),
      prepareDatabase: (database: WithFunctions) => database.function('test_shift', () => this.shift),
    } as DataSourceOptions;
    return { name: 'sqlite', options, drop: async () => {} };
  }

  /** Milliseconds since 1970, as the database shows them. */
  now(): number {
    return Date.now() + this.shift;
  }

  /** Changes the time by so many milliseconds, and lets an application read it. */
  async advance(app: TestApp, milliseconds: number): Promise<void> {
    this.shift += milliseconds;
    await app.get<Engine>(ENGINE).poller.poll();
  }

  /** Deletes the database, and restores the time. */
  end(): void {
    Object.assign(DIALECTS.sqlite, this.real);
    rmSync(this.folder, { recursive: true, force: true });
  }
}

const shifted = (time: string) => `(${time} + CAST(test_shift() AS INTEGER))`;
