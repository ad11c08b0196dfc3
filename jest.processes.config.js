import base from './jest.config.js';

/** Runs the suites with commands of their own, one at a time: they start processes, stop servers or use a browser. */
export default {
  ...base,
  testPathIgnorePatterns: [],
  maxWorkers: 1,
  testTimeout: 300_000,
};
