/**
 * The import rules of the library. `a > b` means that `a` may import `b`:
 * nest > http > feed > session > { token, revocation, binding } > database > errors; revocation > keys > { token, database }.
 * revocation > binding/used-proofs, because a push tells of used proofs too.
 * resource-server > { http, verifier }; verifier > { token, binding, revocation }, without Nest.
 */

/** Allows a folder to import only these parts of the library. Type imports count too. */
const room = (name, from, mayImport) => ({
  name,
  severity: 'error',
  from: { path: from },
  to: { path: '^lib/', pathNot: [mayImport, '^lib/engine/timing\\.ts$'] },
});

/** Separate entry points of the package. An application needs the packages of an entry point only if it imports it. */
const ENTRIES = 'compat/django|cli|import|migrations|passport|redis|resource-server|swagger|testing|verifier';

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
    room('errors-import-texts', '^lib/errors\\.ts$', '^lib/(configuration-error|refusal)\\.ts$'),
    room('refusals-import-nothing', '^lib/(configuration-error|refusal)\\.ts$', '^$'),
    room('duration-imports-nothing', '^lib/duration\\.ts$', '^$'),
    room('option-check-imports-errors', '^lib/option-check\\.ts$', '^lib/(errors|duration)\\.ts$'),
    room('database-below-all', '^lib/database/', '^lib/(database/|errors)'),
    room('telemetry-imports-nothing', '^lib/telemetry/', '^lib/telemetry/'),
    room('binding-below-session', '^lib/binding/', '^lib/(binding/|token/|option-check|errors)'),
    room('token-below-session', '^lib/token/', '^lib/(token/|option-check|errors)'),
    room(
      'revocation-below-session',
      '^lib/revocation/',
      '^lib/(revocation/|keys/|database/|binding/used-proofs\\.ts$|option-check|errors)',
    ),
    room('keys-above-token', '^lib/keys/', '^lib/(keys/|token/|database/|option-check|errors)'),
    room(
      'session-below-http',
      '^lib/session/',
      '^lib/(session/|token/|revocation/|binding/|database/|telemetry/|option-check|errors)',
    ),
    room(
      'http-below-nest',
      '^lib/http/',
      '^lib/(http/|feed/|session/|token/|binding/|outbox/(session-history|durable-event)|database/clock|telemetry/|option-check|errors|refusal)',
    ),
    room('connections-above-http', '^lib/connections/', '^lib/(connections/|http/|session/|token/|errors)'),
    room(
      'feed-above-session',
      '^lib/feed/',
      '^lib/(feed/|session/polic|token/|revocation/|database/(clock|epochs)\\.ts$|errors)',
    ),
    room('known-devices-above-session', '^lib/known-devices/', '^lib/(known-devices/|session/|database/)'),
    room(
      'outbox-above-session',
      '^lib/outbox/',
      '^lib/(outbox/|session/|token/|database/|telemetry/|option-check|errors)',
    ),
    room('statistics-above-session', '^lib/admin/statistics/', '^lib/(admin/statistics/|session/|database/)'),
    room(
      'admin-is-http',
      '^lib/admin/[^/]+$',
      '^lib/(admin/[^/]+$|http/|outbox/(event-administration|session-history)|admin/statistics/daily-counts|keys/managed-keys|session/|token/|errors)',
    ),
    room(
      'compat-is-http',
      '^lib/compat/drf-jwt-devices/',
      '^lib/(compat/drf-jwt-devices/|http/|session/|token/|errors)',
    ),
    room('report-above-engine', '^lib/report/', '^lib/(report/|engine/options\\.ts$|session/)'),
    room(
      'signals-above-http',
      '^lib/signals/',
      '^lib/(signals/|http/|session/|token/|database/clock|option-check|errors)',
    ),
    room(
      'streams-above-outbox',
      '^lib/streams/',
      '^lib/(streams/|http/|outbox/(event-streams|options|security-event|stream-states)\\.ts$|token/)',
    ),
    room('legacy-above-session', '^lib/legacy/', '^lib/(legacy/|session/|token/|option-check|errors)'),
    {
      name: 'http-without-typeorm',
      comment: 'http/ must use the services. It must not import TypeORM, an entity or a store.',
      severity: 'error',
      from: { path: '^lib/(http|compat|admin)/', pathNot: '^lib/admin/statistics/' },
      to: {
        path: [
          '(^|/)(@nestjs/)?typeorm(/|$)',
          '^lib/(session|admin/statistics)/[^/]+\\.entity\\.ts$',
          '^lib/session/(store|[a-z]+-store|session-rows|row-endings|user-row)\\.ts$',
        ],
      },
    },
    {
      name: 'index-is-the-only-barrel',
      comment: 'Barrels cause circular imports. Import a name from the file that defines it.',
      severity: 'error',
      from: { path: '^lib/' },
      to: { path: '^lib/.*index\\.ts$' },
    },

    room(
      'verifier-above-token',
      '^lib/verifier/',
      '^lib/(verifier/|feed/feed-answer|binding/|token/|revocation/|database/remote-clock|http/|option-check|configuration-error|refusal)',
    ),
    room(
      'resource-server-above-verifier',
      '^lib/resource-server/',
      '^lib/(resource-server/|verifier/|http/|connections/|session/(access-verifier|ended-sessions|sender-check)|binding/access-sender|token/|revocation/push\\.ts$|option-check|errors|configuration-error)',
    ),
    {
      name: 'verifier-without-nest',
      comment: 'Services without Nest install it alone, or with redis. Not even its types may lead to Nest or TypeORM.',
      severity: 'error',
      from: { path: '^lib/(verifier|redis)/' },
      to: { path: '(^|/)(@nestjs/|typeorm(/|$)|class-|reflect-metadata|rxjs)', reachable: true },
    },
    {
      name: 'resource-server-without-database',
      comment: 'Services install neither TypeORM nor @nestjs/jwt.',
      severity: 'error',
      from: { path: '^lib/resource-server/' },
      to: { path: '(^|/)((@nestjs/)?typeorm|@nestjs/jwt|class-(validator|transformer))(/|$)', reachable: true },
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
    room(
      'import-above-engine-options',
      '^lib/import/',
      '^lib/(import/|engine/options|nest/entities|session/|token/|database/|errors)',
    ),
    room(
      'cli-above-import',
      '^lib/cli/',
      '^lib/(cli/|import/|report/|engine/options\\.ts$|errors|session/alias\\.ts$)',
    ),
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
      comment: 'These are optional peer dependencies. Load them with import().',
      severity: 'error',
      from: { path: '^lib/' },
      to: {
        path: '(^|/)(@nestjs/websockets|@nestjs/microservices|@opentelemetry/api|@node-rs/(argon2|bcrypt))(/|$)',
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
    {
      name: 'client-imports-no-server',
      comment: 'The client runs in browsers. It has no dependencies: only its bindings import their optional peers.',
      severity: 'error',
      from: { path: '^client/src/', pathNot: '^client/src/(ssr/|(angular|axios|react|vue)\\.ts$)' },
      to: { pathNot: '^client/src/' },
    },
    {
      name: 'client-decisions-import-nothing',
      severity: 'error',
      from: { path: '^client/src/decisions\\.ts$' },
      to: { path: '.' },
    },
    {
      name: 'not-to-unresolvable',
      comment: 'Scripts of pages import the URLs under which the client is served.',
      severity: 'error',
      from: { pathNot: '^sample-app/src/public/' },
      to: { couldNotResolve: true },
    },
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
