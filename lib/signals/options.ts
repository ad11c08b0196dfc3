import {
  checkObject,
  oneOf,
  type OptionFaults,
  optional,
  required,
  text,
  texts,
  withDefault,
} from '../option-check.js';
import { readBearerTokens } from '../token/bearer-tokens.js';
import { PUBLIC_ALGORITHMS } from '../token/issuer-keys.js';
import { isLoopbackHost } from '../token/public-url.js';

/** An identity provider that may end sessions. Name at least one of the ways in which it does so. */
export interface IdentityProviderOptions {
  /** The provider's `issuer`, exactly as its tokens state it. */
  issuer: string;
  /**
   * Where the provider publishes its keys, as `jwks_uri` in its configuration. Required for `backChannelLogout` and
   * `securityEvents`, whose tokens are signed. Each key must have a `kid`.
   */
  jwksUri?: string | undefined;
  /** The algorithm of keys that do not state one. Default: `'RS256'`. */
  algorithm?: string | undefined;
  /** Accepts logout tokens (OpenID Connect Back-Channel Logout 1.0). Default: they are refused. */
  backChannelLogout?: BackChannelLogoutOptions | undefined;
  /** Accepts security events (CAEP 1.0 and RISC, pushed by RFC 8935). Default: they are refused. */
  securityEvents?: SecurityEventsOptions | undefined;
  /** Accepts requests to end all sessions of a user (Global Token Revocation). Default: they are refused. */
  globalTokenRevocation?: GlobalTokenRevocationOptions | undefined;
}

/** How a provider sends logout tokens. */
export interface BackChannelLogoutOptions {
  /** The `client_id` of the application at the provider, or several. A token must name one of them as its audience. */
  audience: string | string[];
}

/** How a provider sends security events. */
export interface SecurityEventsOptions {
  /** The audience of the stream, or several. An event must name one of them. */
  audience: string | string[];
  /**
   * The header `Authorization` with which the provider sends events, such as `'Bearer ...'`: the `authorization_header` of the
   * stream. To rotate, give the new one and the old one. Default: the signature of the event is enough.
   */
  authorization?: string | string[] | undefined;
}

/** How a provider asks to end all sessions of a user. */
export interface GlobalTokenRevocationOptions {
  /**
   * The bearer token with which the provider identifies itself, at least 32 characters. To rotate, give the new one and the old
   * one.
   */
  tokens: string | string[];
}

/** The checked `IdentityProviderOptions`, with defaults. */
export interface IdentityProviderConfig {
  readonly issuer: string;
  readonly jwksUri?: string;
  readonly algorithm: string;
  readonly backChannelLogout?: { readonly audience: readonly string[] };
  readonly securityEvents?: { readonly audience: readonly string[]; readonly authorization: readonly string[] };
  readonly globalTokenRevocation?: { readonly tokens: readonly string[] };
}

/** The ways in which a provider ends sessions. */
const WAYS = ['backChannelLogout', 'securityEvents', 'globalTokenRevocation'] as const;

/** Reads the option `identityProviders`. Returns an empty list if it is off. */
export function readIdentityProviders(
  value: unknown,
  name: string,
  faults: OptionFaults,
): readonly IdentityProviderConfig[] {
  if (value === undefined) return [];
  if (!Array.isArray(value) || value.length === 0) {
    faults.add(name, 'must be a list of identity providers, for example [{ issuer, jwksUri, backChannelLogout }]');
    return [];
  }
  const providers = value.map((provider, at) => readProvider(provider, `${name}[${at}]`, faults));
  const repeated = (all: readonly string[]) => all.find((one, at) => one !== '' && all.indexOf(one) !== at);
  const issuer = repeated(providers.map((provider) => provider.issuer));
  if (issuer !== undefined)
    faults.add(name, `names the issuer ${JSON.stringify(issuer)} twice; give each provider once`);
  if (repeated(providers.flatMap(({ globalTokenRevocation }) => globalTokenRevocation?.tokens ?? [])) !== undefined)
    faults.add(name, 'gives two providers the same token of globalTokenRevocation; give each a token of its own');
  return providers;
}

function readProvider(value: unknown, name: string, faults: OptionFaults): IdentityProviderConfig {
  const read = checkObject<IdentityProviderConfig>(value, name, faults, {
    issuer: required(readIssuer, "give the provider's issuer, such as 'https://id.example'"),
    jwksUri: optional(readUrl),
    algorithm: withDefault('RS256', oneOf(...PUBLIC_ALGORITHMS)),
    backChannelLogout: optional(readBackChannelLogout),
    securityEvents: optional(readSecurityEvents),
    globalTokenRevocation: optional(readGlobalTokenRevocation),
  });
  if (!WAYS.some((way) => read[way])) faults.add(name, `does nothing; set at least one of ${WAYS.join(', ')}`);
  if (read.jwksUri === undefined && (read.backChannelLogout || read.securityEvents))
    faults.add(`${name}.jwksUri`, 'is missing; give the URL of the keys that verify the signatures of the provider');
  return read;
}

function readBackChannelLogout(value: unknown, name: string, faults: OptionFaults) {
  return checkObject<NonNullable<IdentityProviderConfig['backChannelLogout']>>(value, name, faults, {
    audience: required(texts, 'give the client_id of the application at the provider'),
  });
}

function readSecurityEvents(value: unknown, name: string, faults: OptionFaults) {
  return checkObject<NonNullable<IdentityProviderConfig['securityEvents']>>(value, name, faults, {
    audience: required(texts, 'give the audience of the stream at the provider'),
    authorization: withDefault<readonly string[]>([], texts),
  });
}

function readGlobalTokenRevocation(value: unknown, name: string, faults: OptionFaults) {
  return checkObject<NonNullable<IdentityProviderConfig['globalTokenRevocation']>>(value, name, faults, {
    tokens: required(
      readBearerTokens,
      'give the bearer token of the provider; create it with: openssl rand -base64 32',
    ),
  });
}

function readIssuer(value: unknown, name: string, faults: OptionFaults): string {
  const url = readUrl(value, name, faults);
  if (url !== '' && /[?#]/.test(url)) faults.add(name, 'must have no query and no fragment');
  return url;
}

function readUrl(value: unknown, name: string, faults: OptionFaults): string {
  const given = text(value, name, faults);
  if (given === '') return given;
  const url = URL.canParse(given) ? new URL(given) : undefined;
  const isSecure = url?.protocol === 'https:' || (url?.protocol === 'http:' && isLoopbackHost(url.hostname));
  if (!url || !isSecure || url.username + url.password !== '')
    faults.add(name, 'must be a URL that begins with https:// (http:// on loopback) and has no user name and password');
  return given;
}
