const swc = (parser) => [
  '@swc/jest',
  {
    swcrc: false,
    sourceMaps: 'inline',
    jsc: {
      target: 'es2022',
      parser,
      keepClassNames: true,
      transform: { legacyDecorator: true, decoratorMetadata: true, useDefineForClassFields: false },
    },
  },
];

export default {
  testEnvironment: 'node',
  // Most tests wait for a database or for time to pass, so a worker on every core is not too many.
  maxWorkers: '100%',
  testMatch: ['<rootDir>/test/**/*.spec.ts'],
  // These suites have commands of their own: `npm run test:package`, `test:races`, `test:faults`, `test:browser`.
  testPathIgnorePatterns: ['package', 'races', 'faults', 'browser'].map((folder) => `<rootDir>/test/${folder}/`),
  extensionsToTreatAsEsm: ['.ts'],
  transform: {
    '^.+\\.ts$': swc({ syntax: 'typescript', decorators: true }),
    '/node_modules/.*cookie/.+\\.js$': swc({ syntax: 'ecmascript' }),
  },
  transformIgnorePatterns: ['/node_modules/(?!.*cookie/)'],
  moduleNameMapper: {
    '^nestjs-multisession$': '<rootDir>/lib/index.ts',
    '^nestjs-multisession/django$': '<rootDir>/lib/compat/django/index.ts',
    '^nestjs-multisession/(migrations|passport|redis|swagger|testing)$': '<rootDir>/lib/$1/index.ts',
    '^(\\.{1,2}/.*)\\.js$': '$1',
  },
  setupFiles: ['reflect-metadata'],
  setupFilesAfterEnv: ['<rootDir>/test/helpers/log-watch.setup.ts'],
  testTimeout: 120_000,
  collectCoverageFrom: ['lib/**/*.ts'],
  coverageProvider: 'v8',
};
