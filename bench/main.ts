import { benchGuards } from './guard.js';
import { readArguments } from './options.js';
import { benchLogin, benchRefresh } from './sessions.js';

const BENCHMARKS = new Map([
  ['guard', benchGuards],
  ['refresh', benchRefresh],
  ['login', benchLogin],
]);

const { names, options } = readArguments([...BENCHMARKS.keys()]);
for (const name of names) await BENCHMARKS.get(name)?.(options);
