import base from './jest.config.js';

/** The suites with commands of their own: several processes, servers that are stopped, a browser. One at a time. */
export default {
  ...base,
  testPathIgnorePatterns: [],
  maxWorkers: 1,
  testTimeout: 300_000,
};
