/**
 * Runs any number of sample applications in one process, because most of a start is the time to load their modules. Takes
 * `{ id, start: variables }` and `{ id, stop: true }`, and answers with `{ id, url, announcement }`, `{ id, refusal }`,
 * `{ id, error }` or `{ id }`.
 */
import 'reflect-metadata';

// By URL, because the import rules and the linter run without a build.
const built = (name) => import(new URL(`../../dist-app/${name}.js`, import.meta.url).href);
const { startApplication } = await built('application');
const { StartError } = await built('environment');

const apps = new Map();

async function start(id, variables) {
  const { app, announcement } = await startApplication(variables);
  apps.set(id, app);
  const [, url] = /listens on (https?:\S+),/.exec(announcement);
  return { url, announcement };
}

async function answer({ id, start: variables, stop }) {
  try {
    if (variables) return { id, ...(await start(id, variables)) };
    if (stop) await apps.get(id).close();
    return { id };
  } catch (error) {
    return error instanceof StartError ? { id, refusal: error.message } : { id, error: error.stack };
  }
}

process.on('message', async (request) => process.send(await answer(request)));
process.on('disconnect', () => process.exit());
process.send('ready');
