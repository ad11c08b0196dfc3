import { benchGuards } from './guard.js';
import { readArguments } from './options.js';
import { benchProcesses } from './processes.js';
import { writeReport } from './report.js';
import { benchRevocation } from './revocation.js';
import { benchList, benchLogin, benchRefresh } from './sessions.js';
import { benchStartup } from './startup.js';

const BENCHMARKS = new Map([
  ['guard', benchGuards],
  ['refresh', benchRefresh],
  ['login', benchLogin],
  ['list', benchList],
  ['revocation', benchRevocation],
  ['processes', benchProcesses],
  ['startup', benchStartup],
]);

const { names, options } = readArguments([...BENCHMARKS.keys()]);
for (const name of names) await BENCHMARKS.get(name)?.(options);
writeReport('bench', { only: names, ...options, databases: process.env.TEST_DATABASES ?? 'sqlite' });
