import { setTimeout as sleep } from 'node:timers/promises';
import { createDatabase, type DatabaseName } from '../test/helpers/databases.js';
import { answerParent, processorTime } from './child.js';
import { type GuardName, startGuardApp } from './guard-app.js';
import type { AdapterName, Callers } from './guard-route.js';

/** What the parent asks of a server. */
export type ServerQuestion = 'app' | 'processor time';
export type ServerAnswer = Callers & { url: string; processorTime: number };

// Started by guard.ts as a process of its own, for one guard on one adapter.
const [guard, adapter, databaseName] = process.argv.slice(2) as [GuardName, AdapterName, DatabaseName];
const database = await createDatabase(databaseName);
const { close, ...app } = await startGuardApp(guard, adapter, database.options);

answerParent<ServerQuestion, ServerAnswer>(
  () => Promise.resolve({ ...app, processorTime: processorTime() }),
  async () => {
    // The load generator leaves requests behind; without their answers, TypeORM would take the connections from under them.
    await sleep(1000);
    await close();
    await database.drop();
  },
);
