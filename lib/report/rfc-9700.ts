import { spanOf } from '../session/assurance.js';
import type { Facts } from './facts.js';
import { type RowRule, yours } from './row.js';

const DPOP = ['test/e2e/dpop.spec.ts', 'is refused as a bearer token, with and without a proof'] as const;
const AUDIENCE = ['test/unit/token/keyring.spec.ts', 'another audience'] as const;

/** RFC 9700, Best Current Practice for OAuth 2.0 Security: the sections that concern sessions and their tokens. */
export const RFC_9700_ROWS: readonly RowRule[] = [
  {
    row: '2.2.1',
    requirement: 'access tokens are bound to their sender (should)',
    test: DPOP,
    judge: (facts) => binding(facts),
  },
  {
    row: '2.2.2',
    requirement: 'refresh tokens of public clients are bound to their sender, or rotated (must)',
    test: ['test/e2e/refresh.spec.ts', 'after the grace, a superseded token whose successor was used ends the session'],
    judge: (facts) => {
      const fixed = facts.typesWith(
        ({ rotateRefreshTokens, binding: bound }) => !rotateRefreshTokens && bound !== 'require',
      );
      return {
        value: facts.each(
          ({ rotateRefreshTokens, binding: bound }) =>
            `${rotateRefreshTokens ? 'rotated' : 'not rotated'}, binding ${bound}`,
        ),
        change:
          fixed.length > 0
            ? `set rotateRefreshTokens of ${fixed.join(', ')} to true (without permanent), or binding to 'require'`
            : undefined,
      };
    },
  },
  {
    row: '2.3',
    requirement: 'access tokens are restricted to an audience (should)',
    test: AUDIENCE,
    judge: ({ config: { tokens } }) => ({
      value: `jwt.audience: ${tokens.audience?.join(', ') ?? 'none'}`,
      change: tokens.audience ? undefined : 'set jwt.audience to a name of each service that accepts the tokens',
    }),
  },
  {
    row: '2.4',
    requirement: 'clients of other parties never see the password (must)',
    judge: () =>
      yours(
        'login/ takes the password',
        'let only your own front ends call login/; for others, put an authorization server in front',
      ),
  },
  {
    row: '2.6',
    requirement: 'TLS from end to end',
    judge: ({ config: { http } }) =>
      yours(
        `publicOrigin: ${http.publicOrigins.join(', ') || 'none'}`,
        'serve over TLS only, also between your proxy and the application',
      ),
  },
  {
    row: '4.2, 4.3',
    requirement: 'no tokens in URLs, referrers and histories',
    test: ['test/e2e/secrets-in-logs.spec.ts', 'a token in the URL is ignored'],
    judge: () => ({ value: 'tokens travel in headers, bodies and cookies only' }),
  },
  {
    row: '4.7',
    requirement: 'requests cannot be forged by another site (CSRF)',
    test: ['test/e2e/cookies.spec.ts', 'a forged request'],
    judge: ({ config: { http } }) => ({
      value: http.cookies
        ? 'each request with cookies is checked: its header, Origin and Sec-Fetch-Site'
        : 'no cookies, so browsers send no credentials by themselves',
    }),
  },
  {
    row: '4.10.1',
    requirement: 'a stolen access token is useless to others: bound to its sender',
    test: DPOP,
    judge: (facts) => binding(facts),
  },
  {
    row: '4.10.2',
    requirement: 'a stolen access token is useless elsewhere: restricted to an audience',
    test: AUDIENCE,
    judge: ({ config: { tokens } }) => ({
      value: `jwt.audience: ${tokens.audience?.join(', ') ?? 'none'}`,
      change: tokens.audience ? undefined : 'set jwt.audience',
    }),
  },
  {
    row: '4.14.2',
    requirement: 'unused refresh tokens expire (should)',
    test: ['test/e2e/refresh.spec.ts', 'a token of an expired session, which ends'],
    judge: (facts) => ({ value: facts.each((policy) => spanOf(policy.refreshTokenLifetime)) }),
  },
];

/** Only DPoP binds access tokens. The key of a browser protects the refresh, because page requests carry no proof. */
function binding(facts: Facts) {
  const loose = facts.typesWith(({ binding: bound }) => bound !== 'require');
  const lifetimes = facts.each(
    ({ binding: bound, accessTokenLifetime }) => `${bound}, access tokens live for ${spanOf(accessTokenLifetime)}`,
  );
  const toBind = `set binding of ${loose.join(', ')} to 'require'; until then, keep access tokens short-lived`;
  const inCookies = 'keep access tokens short-lived: a browser with cookies proves its key only when it refreshes';
  const change = loose.length > 0 ? toBind : facts.config.http.cookies ? inCookies : undefined;
  return { value: `binding: ${lifetimes}`, change };
}
