import { setTimeout as sleep } from 'node:timers/promises';
import { createDatabase, type DatabaseName } from '../test/helpers/databases.js';
import { answerParent, processorTime } from './child.js';
import { type GuardName, startGuardApp } from './guard-app.js';
import type { AdapterName, Callers } from './guard-route.js';

/** The questions that the parent asks a server. */
export type ServerQuestion = 'app' | 'processor time';
export type ServerAnswer = Callers & { url: string; processorTime: number };

// guard.ts starts this script in a process of its own for each guard and adapter.
const [guard, adapter, databaseName] = process.argv.slice(2) as [GuardName, AdapterName, DatabaseName];
const database = await createDatabase(databaseName);
const { close, ...app } = await startGuardApp(guard, adapter, database.options);

answerParent<ServerQuestion, ServerAnswer>(
  () => Promise.resolve({ ...app, processorTime: processorTime() }),
  async () => {
    // Let requests of the load generator finish first: they still use TypeORM's connections.
    await sleep(1000);
    await close();
    await database.drop();
  },
);
