/** The import rules of the library: nest → http → session → {token, revocation} → database → errors; revocation → keys → token, database. */

/** The whole of what a room may import of the library; type imports count like any other. */
const room = (name, from, mayImport) => ({
  name,
  severity: 'error',
  from: { path: from },
  to: { path: '^lib/', pathNot: mayImport },
});

/** Entries of their own: nobody who does not import them pays for what they need. */
const ENTRIES = 'compat/django|migrations|redis|swagger|testing';

module.exports = {
  forbidden: [
    { name: 'no-circular', severity: 'error', from: {}, to: { circular: true } },
    { name: 'no-orphans', severity: 'error', from: { path: '^lib/', orphan: true }, to: {} },

    room('errors-know-nobody', '^lib/errors\\.ts$', '^$'),
    room('option-check-knows-errors', '^lib/option-check\\.ts$', '^lib/errors\\.ts$'),
    room('database-below-all', '^lib/database/', '^lib/(database/|errors)'),
    room('telemetry-knows-nobody', '^lib/telemetry/', '^lib/telemetry/'),
    room('token-knows-nobody', '^lib/token/', '^lib/(token/|option-check|errors)'),
    room(
      'revocation-polls-keys',
      '^lib/revocation/',
      '^lib/(revocation/|keys/|database/|engine/timing|option-check|errors)',
    ),
    room('keys-know-tokens', '^lib/keys/', '^lib/(keys/|token/|database/|option-check|errors)'),
    room(
      'session-below-http',
      '^lib/session/',
      '^lib/(session/|token/|revocation/|database/|telemetry/|option-check|errors)',
    ),
    room('http-below-nest', '^lib/http/', '^lib/(http/|session/|token/|database/clock|telemetry/|option-check|errors)'),
    room('known-devices-know-sessions', '^lib/known-devices/', '^lib/(known-devices/|session/|database/)'),
    room('statistics-know-sessions', '^lib/admin/statistics/', '^lib/(admin/statistics/|session/|database/)'),
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
      name: 'http-never-meets-typeorm',
      comment: 'Neither TypeORM itself nor what is made of it: http/ asks the services.',
      severity: 'error',
      from: { path: '^lib/(http|compat|admin)/', pathNot: '^lib/admin/statistics/' },
      to: { path: '(^|/)(@nestjs/)?typeorm(/|$)|^lib/(session|admin/statistics)/([^/]+\\.entity|store)\\.ts$' },
    },
    {
      name: 'index-is-the-only-barrel',
      comment: 'Barrels make circles: within the library a name is imported from the file that has it.',
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
      name: 'entries-know-no-database',
      severity: 'error',
      from: { path: '^lib/(compat/django|swagger|testing)/' },
      to: { path: '(^|/)(@nestjs/)?typeorm(/|$)|^lib/(database|revocation)/' },
    },
    room('migrations-stand-alone', '^lib/migrations/', '^lib/(migrations|database)/'),
    {
      name: 'swagger-in-its-entry-only',
      comment: '@nestjs/swagger is an optional peer.',
      severity: 'error',
      from: { path: '^lib/', pathNot: '^lib/swagger/' },
      to: { path: '(^|/)@nestjs/swagger(/|$)' },
    },
    {
      name: 'redis-in-its-entry-only',
      comment: 'redis is an optional peer.',
      severity: 'error',
      from: { path: '^lib/', pathNot: '^lib/redis/' },
      to: { path: '(^|/)redis(/|$)' },
    },
    {
      name: 'websockets-when-there-are-sockets',
      comment: '@nestjs/websockets is an optional peer: import() it where it is needed.',
      severity: 'error',
      from: { path: '^lib/' },
      to: { path: '(^|/)@nestjs/websockets(/|$)', dynamic: false },
    },

    {
      name: 'library-knows-no-application',
      severity: 'error',
      from: { path: '^lib/' },
      to: { path: '^(sample-app|test|bench)/' },
    },
    {
      name: 'only-what-is-declared',
      comment: 'What the library imports is a dependency or a peer dependency.',
      severity: 'error',
      from: { path: '^lib/' },
      to: { dependencyTypes: ['npm-dev', 'npm-no-pkg', 'npm-unknown', 'unknown'], dependencyTypesNot: ['npm-peer'] },
    },
    {
      name: 'applications-use-the-entries',
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
