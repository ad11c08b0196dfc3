import 'reflect-metadata';
import { startApplication } from './application.js';
import { StartError } from './environment.js';

async function main(): Promise<void> {
  const { app, announcement } = await startApplication(process.env);
  app.enableShutdownHooks(['SIGTERM', 'SIGINT'], { useProcessExit: true });
  console.log(announcement);
}

main().catch((error: unknown) => {
  // A person can correct a StartError, so its stack would only distract.
  console.error(error instanceof StartError ? error.message : error);
  process.exit(1);
});
