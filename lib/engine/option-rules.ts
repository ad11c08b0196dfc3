import { timingSafeEqual } from 'node:crypto';
import type { HttpConfig } from '../http/options.js';
import type { OptionFaults } from '../option-check.js';
import type { EventsConfig } from '../outbox/options.js';
import type { SessionPolicyConfig } from '../session/options.js';
import type { TokenConfig } from '../token/options.js';
import { isPublicUrl } from '../token/public-url.js';

/** Maximum number of managed keys that the options may lead to. */
const MAX_MANAGED_KEYS = 1000;

/** The options that depend on each other, checked one by one. */
interface RuledOptions {
  readonly tokens: TokenConfig;
  readonly http: HttpConfig;
  readonly policies: ReadonlyMap<string, SessionPolicyConfig>;
  readonly events?: EventsConfig | null;
}

/** Checks the rules between options of different parts of the library. Adds the faults that it finds to `faults`. */
export function checkTogether(config: RuledOptions, faults: OptionFaults): void {
  checkSecretsDiffer(config, faults);
  checkRendering(config, faults);
  checkBinding(config, faults);
  checkKeysAreFew(config, faults);
  checkStreams(config, faults);
}

/** Checks that renewals are possible, if the options ask for them. */
function checkRendering({ http, policies }: RuledOptions, faults: OptionFaults): void {
  const renewed = [...policies].filter(([, { renewalWithin }]) => renewalWithin > 0);
  const hasKeys = (http.backendKeys ?? []).length > 0;
  for (const [type] of hasKeys ? [] : renewed)
    faults.add(
      `policies.${type}.renewal`,
      'needs backendKeys, with which the renderer identifies itself; set a long random string',
    );
  if (http.cookies && http.cookies.serverRendering && renewed.length === 0)
    faults.add(
      'cookies.serverRendering',
      'needs a session type with renewal: true; set it in its policy, or remove the option',
    );
}

/** The shortest access token of sessions that browsers bind: Chromium renews a cookie that has less than 2 minutes to live. */
const MIN_BOUND_ACCESS = 300_000;

/** Checks that browsers can bind sessions, if the options ask for it and tokens may travel in cookies. */
function checkBinding({ http: { cookies }, policies }: RuledOptions, faults: OptionFaults): void {
  const bound = [...policies].filter(([, { binding }]) => binding !== 'off');
  if (!cookies || bound.length === 0) return;
  const name = `policies.${bound[0][0]}.binding`;
  if (cookies.access.attributes.partitioned)
    faults.add(name, 'cannot be combined with cookies.partitioned: browsers bind no partitioned cookies; remove one');
  if (cookies.isShared)
    faults.add(name, 'cannot be combined with cookies.domain: browsers prove a key to one host only; remove one');
  for (const [type, { accessTokenLifetime }] of bound)
    if (accessTokenLifetime < MIN_BOUND_ACCESS)
      faults.add(
        `policies.${type}.binding`,
        `needs access tokens that live for at least ${MIN_BOUND_ACCESS / 1000} s, because the browser signs for each new one; got ${accessTokenLifetime / 1000} s`,
      );
}

/** Checks that receivers of security events can verify them: with a public key, and by our name. */
function checkStreams({ events, tokens }: RuledOptions, faults: OptionFaults): void {
  if (!events || events.streams.length === 0) return;
  const { issuer, managed, keys } = tokens;
  const algorithm = managed?.algorithm ?? keys.find(({ signingKey }) => signingKey)?.algorithm;
  if (!issuer)
    faults.add('events.streams', 'needs jwt.issuer, by which receivers know the events; set it to a URL of yours');
  if (algorithm?.startsWith('HS'))
    faults.add(
      'events.streams',
      "needs a key with a public part, or else receivers could forge tokens; sign with one, such as jwt.managed.algorithm: 'RS256'",
    );
}

/**
 * Limits the number of managed keys. A key is kept as long as one of its tokens can be live, and every poll reads all keys.
 */
function checkKeysAreFew({ tokens, policies }: RuledOptions, faults: OptionFaults): void {
  const longest = Math.max(...[...policies.values()].map((policy) => policy.refreshTokenLifetime));
  const keys = tokens.managed?.rotateEvery ? longest / tokens.managed.rotateEvery : 0;
  if (keys > MAX_MANAGED_KEYS)
    faults.add(
      'jwt.managed.rotateEvery',
      `is so short that ${Math.round(keys)} keys would be kept for the longest refresh token; at most ${MAX_MANAGED_KEYS} are allowed, so make it longer`,
    );
}

/**
 * Checks that there are providers for the routes of signals, and routes for the providers.
 * @param hasRoutes undefined if it is not known whether the routes exist
 */
export function checkSignals(
  providers: readonly unknown[],
  hasRoutes: boolean | undefined,
  faults: OptionFaults,
): void {
  if (hasRoutes === true && providers.length === 0)
    faults.add('signals', 'needs identityProviders, which say whose signals are accepted; set it, or remove signals');
  if (hasRoutes === false && providers.length > 0)
    faults.add(
      'identityProviders',
      'needs the static option signals: true, which adds the routes; set it, or remove this',
    );
}

/**
 * Checks that receivers can reach the routes of streams, and that there are receivers.
 * @param hasRoutes undefined if it is not known whether the routes exist
 */
export function checkStreamRoutes(
  { events, tokens }: Pick<RuledOptions, 'events' | 'tokens'>,
  hasRoutes: boolean | undefined,
  faults: OptionFaults,
): void {
  const hasReceivers = events?.streams.some(({ receiverKeys }) => receiverKeys.length > 0) ?? false;
  if (hasRoutes === true && !hasReceivers)
    faults.add('eventStreams', 'needs a stream with receiverKeys in events.streams; add one, or remove eventStreams');
  if (hasRoutes === false && hasReceivers)
    faults.add(
      'events.streams',
      'needs the static option eventStreams: true for receiverKeys, which adds the routes; set it, or remove the keys',
    );
  if (!hasReceivers) return;
  if (events?.publicUrl === undefined)
    faults.add('events.publicUrl', "is missing; give the URL of the routes, such as 'https://app.example/api/session'");
  if (tokens.issuer && !isPublicUrl(tokens.issuer))
    faults.add(
      'jwt.issuer',
      'must be a URL that begins with https:// (http:// on loopback) and has no query, because receivers look for our configuration there',
    );
}

/** Checks that the session types are the same in both places. */
export function checkTypesAgree(
  declared: readonly string[],
  configured: readonly string[],
  faults: OptionFaults,
): void {
  const missing = declared.filter((type) => !configured.includes(type));
  const undeclared = configured.filter((type) => !declared.includes(type));
  if (missing.length > 0)
    faults.add('sessionTypes', `names ${missing.join(', ')}, which policies does not; use the same names in both`);
  if (undeclared.length > 0)
    faults.add(
      'sessionTypes',
      `does not name ${undeclared.join(', ')}, which policies does; use the same names in both`,
    );
}

/**
 * Checks that the secret key differs from the other secrets. Front ends may know the secret key, but whoever knows the
 * signing secret can forge tokens of any user.
 */
function checkSecretsDiffer({ tokens, http }: RuledOptions, faults: OptionFaults): void {
  const secrets = tokens.keys.flatMap((key) => (key.verifyingKey.type === 'secret' ? [key.verifyingKey.export()] : []));
  if ((tokens.managed?.encryptionKeys ?? []).some((key) => isOneOf(Buffer.from(key), secrets))) {
    faults.add(
      'jwt.managed.encryptionKey',
      'must differ from the signing secrets: they are replaced at different times; choose another',
    );
  }
  secrets.push(...(tokens.managed?.encryptionKeys ?? []).map((key) => Buffer.from(key)));
  const { backendKeys = [] } = http;
  const keys = [
    ...(http.secretKeys || []).map((key) => ['secretKey', key] as const),
    ...backendKeys.map((key) => ['backendKeys', key] as const),
  ];
  if (backendKeys.some((key) => http.secretKeys && http.secretKeys.includes(key)))
    faults.add('backendKeys', 'must differ from secretKey, which front ends may know; choose another');
  for (const [name, key] of keys) {
    if (isOneOf(Buffer.from(key), secrets)) {
      faults.add(
        name,
        'must differ from the signing secret and the encryption key: whoever knows it could sign tokens; choose another',
      );
    }
  }
}

function isOneOf(bytes: Buffer, secrets: readonly Buffer[]): boolean {
  return secrets.some((secret) => secret.length === bytes.length && timingSafeEqual(secret, bytes));
}
