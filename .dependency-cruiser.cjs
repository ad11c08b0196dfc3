/**
 * The import rules of the library. `a > b` means that `a` may import `b`:
 * nest > http > session > { token, revocation } > database > errors; revocation > keys > { token, database }.
 */

/** Allows a folder to import only these parts of the library. Type imports count too. */
const room = (name, from, mayImport) => ({
  name,
  severity: 'error',
  from: { path: from },
  to: { path: '^lib/', pathNot: [mayImport, '^lib/engine/timing\\.ts$'] },
});

/** Separate entry points of the package. An application needs the packages of an entry point only if it imports it. */
const ENTRIES = 'compat/django|migrations|passport|redis|swagger|testing';

module.exports = {
  forbidden: [
    { name: 'no-circular', severity: 'error', from: {}, to: { circular: true } },
    { name: 'no-orphans', severity: 'error', from: { path: '^lib/', orphan: true }, to: {} },

    {
      name: 'timing-imports-nothing',
      severity: 'error',
      from: { path: '^lib/engine/timing\\.ts$' },
      to: { path: '.' },
    },
    room('errors-import-nothing', '^lib/errors\\.ts$', '^$'),
    room('option-check-imports-errors', '^lib/option-check\\.ts$', '^lib/errors\\.ts$'),
    room('database-below-all', '^lib/database/', '^lib/(database/|errors)'),
    room('telemetry-imports-nothing', '^lib/telemetry/', '^lib/telemetry/'),
    room('token-below-session', '^lib/token/', '^lib/(token/|option-check|errors)'),
    room('revocation-below-session', '^lib/revocation/', '^lib/(revocation/|keys/|database/|option-check|errors)'),
    room('keys-above-token', '^lib/keys/', '^lib/(keys/|token/|database/|option-check|errors)'),
    room(
      'session-below-http',
      '^lib/session/',
      '^lib/(session/|token/|revocation/|database/|telemetry/|option-check|errors)',
    ),
    room('http-below-nest', '^lib/http/', '^lib/(http/|session/|token/|database/clock|telemetry/|option-check|errors)'),
    room('known-devices-above-session', '^lib/known-devices/', '^lib/(known-devices/|session/|database/)'),
    room('statistics-above-session', '^lib/admin/statistics/', '^lib/(admin/statistics/|session/|database/)'),
    room(
      'admin-is-http',
      '^lib/admin/[^/]+$',
      '^lib/(admin/[^/]+$|http/|admin/statistics/daily-counts|session/|token/|errors)',
    ),
    room(
      'compat-is-http',
      '^lib/compat/drf-jwt-devices/',
      '^lib/(compat/drf-jwt-devices/|http/|session/|token/|errors)',
    ),
    {
      name: 'http-without-typeorm',
      comment: 'http/ must use the services. It must not import TypeORM, an entity or the store.',
      severity: 'error',
      from: { path: '^lib/(http|compat|admin)/', pathNot: '^lib/admin/statistics/' },
      to: { path: '(^|/)(@nestjs/)?typeorm(/|$)|^lib/(session|admin/statistics)/([^/]+\\.entity|store)\\.ts$' },
    },
    {
      name: 'index-is-the-only-barrel',
      comment: 'Barrels cause circular imports. Import a name from the file that defines it.',
      severity: 'error',
      from: { path: '^lib/' },
      to: { path: '^lib/.*index\\.ts$' },
    },

    {
      name: 'main-entry-loads-no-other',
      severity: 'error',
      from: { path: '^lib/', pathNot: `^lib/(${ENTRIES})/` },
      to: { path: `^lib/(${ENTRIES})/` },
    },
    {
      name: 'entries-without-database',
      severity: 'error',
      from: { path: '^lib/(compat/django|swagger|testing)/' },
      to: { path: '(^|/)(@nestjs/)?typeorm(/|$)|^lib/(database|revocation)/' },
    },
    room('migrations-stand-alone', '^lib/migrations/', '^lib/(migrations|database)/'),
    {
      name: 'swagger-in-its-entry-only',
      comment: '@nestjs/swagger is an optional peer dependency.',
      severity: 'error',
      from: { path: '^lib/', pathNot: '^lib/swagger/' },
      to: { path: '(^|/)@nestjs/swagger(/|$)' },
    },
    {
      name: 'redis-in-its-entry-only',
      comment: 'redis is an optional peer dependency.',
      severity: 'error',
      from: { path: '^lib/', pathNot: '^lib/redis/' },
      to: { path: '(^|/)redis(/|$)' },
    },
    {
      name: 'passport-in-its-entry-only',
      comment: '@nestjs/passport, passport and passport-jwt are optional peer dependencies.',
      severity: 'error',
      from: { path: '^lib/', pathNot: '^lib/passport/' },
      to: { path: '(^|/)(@nestjs/passport|passport|passport-jwt)(/|$)', pathNot: '^lib/' },
    },
    {
      name: 'optional-peers-by-dynamic-import',
      comment: '@nestjs/websockets and @opentelemetry/api are optional peer dependencies. Load them with import().',
      severity: 'error',
      from: { path: '^lib/' },
      to: {
        path: '(^|/)(@nestjs/websockets|@opentelemetry/api)(/|$)',
        dynamic: false,
        dependencyTypesNot: ['type-only'],
      },
    },

    {
      name: 'library-imports-no-application',
      severity: 'error',
      from: { path: '^lib/' },
      to: { path: '^(sample-app|test|bench)/' },
    },
    {
      name: 'only-what-is-declared',
      comment: 'The library may import only its dependencies and peer dependencies.',
      severity: 'error',
      from: { path: '^lib/' },
      to: { dependencyTypes: ['npm-dev', 'npm-no-pkg', 'npm-unknown', 'unknown'], dependencyTypesNot: ['npm-peer'] },
    },
    {
      name: 'applications-import-entries',
      severity: 'error',
      from: { path: '^sample-app/' },
      to: { path: '^lib/', pathNot: `^lib/((${ENTRIES})/)?index\\.ts$` },
    },
    { name: 'not-to-unresolvable', severity: 'error', from: {}, to: { couldNotResolve: true } },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    exclude: { path: '^test/package/fixtures/' },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    enhancedResolveOptions: {
      exportsFields: ['exports'],
      conditionNames: ['import', 'types', 'require', 'node', 'default'],
      extensions: ['.ts', '.js', '.mjs', '.cjs', '.json'],
    },
  },
};
