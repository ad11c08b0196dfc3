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
  testMatch: ['<rootDir>/test/**/*.spec.ts', '<rootDir>/client/test/**/*.spec.ts'],
  // These suites have commands of their own: `npm run test:package`, `test:races`, `test:faults` and so on.
  testPathIgnorePatterns: [
    'package',
    'races',
    'faults',
    'browser',
    'clusters',
    'upgrade',
    'examples',
    'services',
  ].flatMap((folder) => [`<rootDir>/test/${folder}/`, `<rootDir>/client/test/${folder}/`]),
  extensionsToTreatAsEsm: ['.ts'],
  transform: {
    '^.+\\.ts$': swc({ syntax: 'typescript', decorators: true }),
    '/node_modules/.*(cookie|content-disposition)/.+\\.js$': swc({ syntax: 'ecmascript' }),
  },
  transformIgnorePatterns: ['/node_modules/(?!.*(cookie|content-disposition)/)'],
  moduleNameMapper: {
    '^nestjs-multisession$': '<rootDir>/lib/index.ts',
    '^nestjs-multisession/django$': '<rootDir>/lib/compat/django/index.ts',
    '^nestjs-multisession/(import|migrations|passport|redis|resource-server|swagger|testing|verifier)$':
      '<rootDir>/lib/$1/index.ts',
    '^nestjs-multisession-client$': '<rootDir>/client/src/index.ts',
    '^nestjs-multisession-client/(elements|ssr)$': '<rootDir>/client/src/$1/index.ts',
    '^nestjs-multisession-client/(angular|axios|dpop|react|vue)$': '<rootDir>/client/src/$1.ts',
    '^(\\.{1,2}/.*)\\.js$': '$1',
  },
  setupFiles: ['reflect-metadata'],
  setupFilesAfterEnv: ['<rootDir>/test/helpers/log-watch.setup.ts'],
  testTimeout: 240_000,
  collectCoverageFrom: ['lib/**/*.ts', 'client/src/**/*.ts'],
  coverageProvider: 'v8',
};
