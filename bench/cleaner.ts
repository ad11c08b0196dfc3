import type { DataSourceOptions } from 'typeorm';
import { answerParent } from './child.js';
import { type CleanedUp, cleanUp, startGrowthApp } from './growth-app.js';

/** What the parent asks of a process that cleans up. */
export type CleanerQuestion = 'are you there?' | 'clean up';

// Started by cleanup.ts as a process of its own.
const app = await startGrowthApp(JSON.parse(process.argv[2]) as DataSourceOptions);

answerParent<CleanerQuestion, CleanedUp>(
  async (question) => (question === 'clean up' ? cleanUp(app) : { sessions: 0, seconds: 0 }),
  () => app.close(),
);
