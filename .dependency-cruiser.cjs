/** The import rules of docs/architecture.md: module → http → session → {token, revocation} → errors. */
const only = (name, from, to, comment) => ({ name, severity: 'error', comment, from: { path: from }, to: { path: '^lib/', pathNot: to } });

module.exports = {
  forbidden: [
    { name: 'no-circular', severity: 'error', from: {}, to: { circular: true } },
    { name: 'no-orphans', severity: 'error', from: { orphan: true, path: '^lib/' }, to: {} },
    only('errors-know-nobody', '^lib/multi-session\\.errors\\.ts$', '^$', 'The errors are the lowest room.'),
    only('database-knows-errors', '^lib/database/', '^lib/(database/|multi-session\\.errors)'),
    only('token-knows-errors', '^lib/token/', '^lib/(token/|option-check|multi-session\\.errors)'),
    only('revocation-knows-database', '^lib/revocation/', '^lib/(revocation/|database/|option-check|multi-session\\.errors)'),
    only('session-below-http', '^lib/session/', '^lib/(session/|token/|revocation/|database/|option-check|multi-session\\.errors)'),
    only('http-below-module', '^lib/http/', '^lib/(http/|session/|token/|option-check|multi-session\\.errors)'),
    { name: 'http-never-meets-typeorm', severity: 'error', from: { path: '^lib/http/' }, to: { path: 'typeorm' } },
    { name: 'main-entry-loads-no-option', severity: 'error', comment: 'django, swagger, testing and migrations are entries of their own.', from: { path: '^lib/(index|multi-session|http|session|token|revocation|database)' }, to: { path: '^lib/(django|swagger|testing|migrations)/' } },
    { name: 'library-knows-no-application', severity: 'error', from: { path: '^lib/' }, to: { path: '^(sample-app|test|bench)/' } },
    { name: 'no-dev-dependency', severity: 'error', from: { path: '^lib/' }, to: { dependencyTypes: ['npm-dev'], dependencyTypesNot: ['npm-peer', 'type-only'] } },
    { name: 'not-to-unresolvable', severity: 'error', from: {}, to: { couldNotResolve: true } },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    enhancedResolveOptions: { exportsFields: ['exports'], conditionNames: ['import', 'types', 'require', 'node', 'default'], extensions: ['.ts', '.js', '.mjs', '.cjs', '.json'] },
  },
};
