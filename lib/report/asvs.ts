import { spanOf } from '../session/assurance.js';
import { overallTextOf } from './facts.js';
import { type RowRule, yours } from './row.js';

/** OWASP ASVS 5.0, chapter V7: session management. */
export const ASVS_SESSION_ROWS: readonly RowRule[] = [
  {
    row: '7.1.1',
    level: 2,
    requirement: 'the lifetimes of sessions are documented and justified, also against NIST SP 800-63B',
    test: ['test/unit/session/assurance.spec.ts', 'refuses lifetimes that break the timeouts of the level'],
    judge: (facts) => {
      const unstated = facts.typesWith(({ assurance }) => assurance === undefined);
      const value = `${facts.lifetimes}; ${facts.each(({ assurance = 'no' }) => `${assurance} assurance level`)}`;
      return yours(
        value,
        unstated.length > 0
          ? `document why these lifetimes suit your data; set assurance of ${unstated.join(', ')} if a level of NIST applies`
          : 'document why these lifetimes suit your data',
      );
    },
  },
  {
    row: '7.1.2',
    level: 2,
    requirement: 'the number of parallel sessions, and what happens at the limit, are defined',
    test: [
      'test/e2e/limits.spec.ts',
      'ends the least recently updated session and its access token, writes an entry, and emits the events',
    ],
    judge: (facts) => {
      const { maxActiveSessionsPerUser: all, maxSessions } = facts.config;
      const unlimited = facts.typesWith(({ maxActiveSessions }) => !Number.isFinite(maxActiveSessions));
      const limits = facts.each(
        ({ maxActiveSessions, whenFull }) =>
          `${Number.isFinite(maxActiveSessions) ? maxActiveSessions : 'no limit'} (${whenFull})`,
      );
      return {
        value: `${limits}; all types ${Number.isFinite(all) ? all : `about ${maxSessions}`}`,
        change:
          unlimited.length > 0 && !Number.isFinite(all)
            ? `set maxActiveSessions of ${unlimited.join(', ')}, or maxActiveSessionsPerUser`
            : undefined,
      };
    },
  },
  {
    row: '7.1.3',
    level: 2,
    requirement: 'systems that share logins, such as single sign-on, are documented with how they end sessions',
    judge: () => yours('not visible in the options', 'if you log in through an identity provider, document it'),
  },
  {
    row: '7.2.1',
    level: 1,
    requirement: 'a trusted backend verifies the tokens of sessions',
    test: ['test/e2e/forged-tokens.spec.ts', 'are refused as access tokens'],
    judge: () => ({ value: 'the guard verifies each access token, and the database each refresh token' }),
  },
  {
    row: '7.2.2',
    level: 1,
    requirement: 'tokens are generated for the session, and are no static keys',
    test: ['test/e2e/attackers.spec.ts', 'who has the secret key can call the routes but is not logged in'],
    judge: () => ({ value: 'signed tokens, new at each login' }),
  },
  {
    row: '7.2.3',
    level: 1,
    requirement: 'reference tokens have 128 random bits',
    test: ['test/unit/token/random-id.spec.ts', 'are 128 bits each from node:crypto, at login and at each refresh'],
    judge: () => ({ value: '128 bits from a CSPRNG in each refresh token' }),
  },
  {
    row: '7.2.4',
    level: 1,
    requirement: 'a login or a re-authentication makes a new token and ends the current one',
    test: ['test/e2e/reauthenticate.spec.ts', 'replaces the session with a new one of the same type and device'],
    judge: ({ config: { http } }) => {
      if (!http.cookies)
        return yours('reauthenticate/ replaces the session', 'call logout/ before a login, as the client does');
      return {
        value: `reauthenticate/ replaces the session; cookies.replaceOnLogin is ${http.cookies.replaceOnLogin}`,
        change: http.cookies.replaceOnLogin ? undefined : 'set cookies.replaceOnLogin to true',
      };
    },
  },
  {
    row: '7.3.1',
    level: 2,
    requirement: 'inactivity ends a session',
    test: ['test/e2e/refresh.spec.ts', 'a token of an expired session, which ends'],
    judge: (facts) => ({ value: facts.each((policy) => spanOf(policy.refreshTokenLifetime)) }),
  },
  {
    row: '7.3.2',
    level: 2,
    requirement: 'a maximum lifetime ends a session',
    test: ['test/e2e/refresh.spec.ts', 'rotates and extends up to the absolute expiry'],
    judge: (facts) => {
      const endless = facts.typesWith((policy) => overallTextOf(policy) === 'no limit');
      return {
        value: facts.each(overallTextOf),
        change: endless.length > 0 ? `set absoluteLifetime of ${endless.join(', ')}` : undefined,
      };
    },
  },
  {
    row: '7.4.1',
    level: 1,
    requirement: 'an ended session cannot be used',
    test: ['test/e2e/guard.spec.ts', 'refuses a token at once after logout, destroy and eviction, and no other token'],
    judge: (facts) => {
      const late = facts.typesWith(({ accessCheck }) => accessCheck === 'signature');
      return {
        value: `accessCheck: ${facts.each(({ accessCheck }) => accessCheck)}; other processes learn of an end within ${spanOf(facts.config.revocation.pollInterval)}`,
        change:
          late.length > 0
            ? `set accessCheck of ${late.join(', ')} to 'blacklist'; their access tokens outlive their session`
            : undefined,
      };
    },
  },
  {
    row: '7.4.2',
    level: 1,
    requirement: 'a disabled or deleted user has no sessions',
    test: ['test/e2e/refresh.spec.ts', 'a token of an inactive user, whose session ends'],
    judge: () =>
      yours(
        'findActive is asked at each refresh',
        'return null from findActive for disabled users, and call SessionService.destroyAll when you disable one',
      ),
  },
  {
    row: '7.4.3',
    level: 2,
    requirement: 'a user may end all other sessions after a change of password or second factor',
    test: ['test/e2e/ending.spec.ts', 'destroyAll and destroyOthers end sessions by type, with an exception'],
    judge: () => yours('not visible in the options', 'call SessionService.destroyAll with except after each change'),
  },
  {
    row: '7.4.4',
    level: 2,
    requirement: 'logout is easy to reach on all pages',
    judge: ({ routes }) =>
      yours(
        routes.sessions ? 'the route logout/' : 'no route of the library',
        routes.sessions ? 'show a button that calls logout/' : 'show a button that ends the session',
      ),
  },
  {
    row: '7.4.5',
    level: 2,
    requirement: 'administrators can end the sessions of a user, or of all users',
    test: ['test/e2e/administration.spec.ts', 'ends all sessions of a user, whatever characters the id has'],
    judge: ({ routes }) =>
      routes.admin
        ? { value: 'the routes of the option admin' }
        : yours(
            'the option admin is not set',
            'set the option admin, or call SessionAdministration from your own routes',
          ),
  },
  {
    row: '7.5.1',
    level: 2,
    requirement: 'a full re-authentication precedes changes of what logs a user in',
    test: ['test/e2e/data-and-claims.spec.ts', 'refuses a token whose login is too long ago'],
    judge: () => yours('not visible in the options', 'put @RequireRecentLogin on these routes'),
  },
  {
    row: '7.5.2',
    level: 2,
    requirement: 'users see and end their sessions, after they have authenticated again',
    test: ['test/e2e/data-and-claims.spec.ts', 'refuses a token whose login is too long ago'],
    judge: ({ routes }) =>
      yours(
        routes.management || routes.sessions
          ? `the routes ${[routes.management && 'sessions', routes.sessions && 'list/ and destroy/'].filter(Boolean).join(', ')}, which do not ask for the password again`
          : 'no route of the library',
        'to ask for the password first, put @RequireRecentLogin on routes of your own, or on the handlers of a subclass of the controller',
      ),
  },
  {
    row: '7.5.3',
    level: 3,
    requirement: 'a further factor or check precedes highly sensitive actions',
    test: ['test/e2e/data-and-claims.spec.ts', 'refuses a token whose login is too long ago'],
    judge: (facts) => {
      const bound = facts.typesWith(({ binding }) => binding !== 'off');
      return yours(
        `binding: ${facts.each(({ binding }) => binding)}`,
        `put @RequireRecentLogin ${bound.length > 0 ? 'or @RequireDeviceProof ' : ''}on these routes`,
      );
    },
  },
  {
    row: '7.6.1',
    level: 2,
    requirement: 'sessions of relying parties and identity providers end as documented',
    judge: () =>
      yours('not visible in the options', 'if you log in through an identity provider, end sessions when it says so'),
  },
  {
    row: '7.6.2',
    level: 2,
    requirement: 'a session starts only with an action of the user',
    test: ['test/e2e/attackers.spec.ts', 'who has the secret key can call the routes but is not logged in'],
    judge: () => ({ value: 'a login with a password, or your call of SessionService.create' }),
  },
];
