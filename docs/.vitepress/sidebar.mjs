/** The pages in the order of need: each file in `docs/` without `.md`, and what it is about. */
export const SIDEBAR = [
  {
    text: 'Start',
    pages: {
      index: 'where to find what',
      'getting-started': 'from `nest new` to a page with React and two devices, and what to do before production',
    },
  },
  {
    text: 'Use',
    pages: {
      'front-end': 'the client for browsers and phones: cookies, tokens, development',
      'server-side-rendering': 'Next.js, Nuxt, SvelteKit and Express',
      'managed-sessions': 'what users see and end, and a page for it',
      'custom-flows': 'your users, SessionService, events, logins of your own, throttling',
      guards: 'guards for routes, GraphQL, microservices, WebSockets and streams',
      'data-and-claims': 'data on the server, claims in the token, recent logins',
      'bound-sessions': 'sessions whose copied cookies are worthless',
      devices: 'permanent tokens, their header and routes',
      services: 'verify tokens without the database, also without Nest; nginx and HAProxy',
      'identity-providers': 'sessions end when the user logs out at the provider',
      events: 'events that are never lost: handlers, webhooks, security events, sign-in history',
      administration: 'the sessions of all users, and statistics',
      testing: 'tests of your application, and its OpenAPI document',
    },
  },
  {
    text: 'Choose a policy',
    pages: { 'choose-a-policy': 'presets for a shop, a bank, a back office and the levels of NIST' },
  },
  {
    text: 'Operate',
    pages: {
      deployment: 'nginx, Docker, environment, migrations, upgrades, backup and restore',
      databases: 'entities, migrations, collations, cleanup, time',
      scaling: 'standbys, PgBouncer, Galera: settings, and what a fail-over may lose',
      partitions: 'split the two large tables, and what that costs',
      regions: 'a plan for a billion users: shards, regions, what a lost region costs',
      observability: 'health checks, metrics, traces, alerts',
      incidents: 'what to do when a token, a key or the database was stolen',
      troubleshooting: 'errors by their text, and frequent questions',
    },
  },
  {
    text: 'Reference',
    pages: {
      configuration: 'every option with its default',
      'configuration-keys': 'the options of keys, and how to replace them',
      'configuration-policies': 'the options of a session type',
      http: 'routes, fields, answers, claims',
      cookies: 'the cookies, the CSRF check, sibling hosts',
      errors: 'every code with its status and headers',
    },
  },
  {
    text: 'Understand',
    pages: {
      architecture: 'how it works: folders, a request, a login',
      refresh: 'what a refresh does, and how a retry differs from a theft',
      revocation: 'how all processes know which sessions have ended',
      security: 'the threat model: stolen keys and tokens, and your part',
      attacks: 'the threat model: guesses, forged requests, races, logs',
      'security-standards': 'OWASP ASVS, RFC 9700, RFC 8725',
      performance: 'what we measured, and how to repeat it',
      'performance-notes': 'what we tried, and what helped',
    },
  },
  {
    text: 'Migrate',
    pages: {
      importing: 'take over the live sessions of another system',
      'coming-from-django': 'simplejwt_multisessions',
      'coming-from-drf-jwt-devices': 'drf-jwt-devices',
      'coming-from-django-token-manager': 'django-token-manager',
      'coming-from-supertokens': 'supertokens-django-ref-jwt',
    },
  },
];
