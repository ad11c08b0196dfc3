import type { DataSourceOptions } from 'typeorm';
import { answerParent } from './child.js';
import { type CleanedUp, cleanUp, startGrowthApp } from './growth-app.js';

/** What the parent asks of a process that cleans up. */
export type CleanerQuestion = 'clean up';

// Started by cleanup.ts as a process of its own.
const app = await startGrowthApp(JSON.parse(process.argv[2]) as DataSourceOptions);

answerParent<CleanerQuestion, CleanedUp>(
  () => cleanUp(app),
  () => app.close(),
);
