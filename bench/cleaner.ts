import type { DataSourceOptions } from 'typeorm';
import { answerParent } from './child.js';
import { type CleanedUp, cleanUp, startGrowthApp } from './growth-app.js';

/** The question that the parent asks the cleanup process. */
export type CleanerQuestion = 'clean up';

// cleanup.ts starts this script in a process of its own.
const app = await startGrowthApp(JSON.parse(process.argv[2]) as DataSourceOptions);

answerParent<CleanerQuestion, CleanedUp>(
  () => cleanUp(app),
  () => app.close(),
);
