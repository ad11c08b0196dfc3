#!/usr/bin/env node
import 'reflect-metadata';
import { runCommand } from './command.js';

const abort = new AbortController();
let signal: NodeJS.Signals | undefined;
for (const name of ['SIGINT', 'SIGTERM'] as const) {
  // The first signal lets the current batch finish. A second one ends the process at once.
  process.once(name, () => {
    signal = name;
    abort.abort();
  });
}
process.exitCode = await runCommand(process.argv.slice(2), {
  env: process.env,
  out: process.stdout,
  err: process.stderr,
  signal: abort.signal,
});
// A shell then knows that the command did not finish.
if (signal) process.kill(process.pid, signal);
