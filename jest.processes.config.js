import base from './jest.config.js';

/** For the suites that have their own commands. They run one at a time: they start processes, stop servers or use a browser. */
export default {
  ...base,
  testPathIgnorePatterns: [],
  maxWorkers: 1,
  testTimeout: 300_000,
};
