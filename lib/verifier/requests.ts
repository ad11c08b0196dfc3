import { knownCallOf } from '../http/access-call.js';
import { accessTokenIn, type CredentialsConfig, MALFORMED, provenCallOf } from '../http/authorization-header.js';
import { cookieValues } from '../http/cookie-header.js';
import { firstValid } from '../http/first-valid.js';
import { forgeryFault } from '../http/forgery.js';
import type { CredentialsCarrier } from '../http/request.js';
import type { SessionClaims } from '../token/access-token.js';
import type { RemoteAccess } from './remote-access.js';
import { RefusedError } from './refused-error.js';

/** A request of Node.js, Express or Fastify, or one of the Fetch API, as in Hono. */
export interface IncomingRequest {
  readonly method?: string | undefined;
  /** The path and query. A request of the Fetch API has the whole URL. DPoP proofs name it. */
  readonly url?: string | undefined;
  readonly headers: Headers | Readonly<Record<string, string | string[] | undefined>>;
}

/**
 * Identifies the caller of a request by its access token, or else by its access cookie.
 * @throws RefusedError if the request has neither, or may not pass
 */
export function sessionOfRequest(
  request: IncomingRequest,
  config: CredentialsConfig,
  access: RemoteAccess,
): SessionClaims | Promise<SessionClaims> {
  const carrier = carrierOf(request);
  const token = accessTokenIn(carrier, config);
  if (token === MALFORMED) throw new RefusedError('bad_authorization_header');
  if (token !== undefined) return access.verify(token, provenCallOf(carrier, config));
  const tokens = config.cookies ? cookieValues(carrier, config.cookies, 'access') : [];
  if (tokens.length === 0) throw new RefusedError('not_authenticated');
  const fault = forgeryFault(carrier, config.cookies);
  if (fault !== undefined) throw new RefusedError('csrf_failed', new Error(fault));
  return tokens.length === 1 ? access.verify(tokens[0]) : firstOf(tokens, access);
}

async function firstOf(tokens: readonly string[], access: RemoteAccess): Promise<SessionClaims> {
  const isInvalid = (error: unknown) => error instanceof RefusedError && error.code === 'token_not_valid';
  const session = await firstValid(tokens, (token) => access.verify(token), isInvalid);
  if (session) return session;
  throw new RefusedError('token_not_valid');
}

/** Returns the headers that the answer to a request should have, once the request has been verified. */
export function answerHeadersOf(request: IncomingRequest): Record<string, string> {
  const nonce = knownCallOf(carrierOf(request))?.nextNonce;
  return nonce === undefined ? {} : { 'DPoP-Nonce': nonce };
}

function carrierOf(request: IncomingRequest): CredentialsCarrier {
  const { method, headers } = request;
  // A Fetch request joins headers that were sent twice. A token or an origin with a comma is not valid, so nothing passes.
  const plain = headers instanceof Headers ? Object.fromEntries(headers) : headers;
  const { socket } = request as { socket?: unknown };
  return {
    method: method ?? 'UNKNOWN',
    headers: { ...plain },
    ...(socket !== undefined && { socket }),
    request: headers instanceof Headers ? targetOf(request) : request,
  };
}

/** The parts of a Fetch request from which its URL is made, as a request of Node.js has them. */
interface Target {
  readonly method: string | undefined;
  readonly url: string | undefined;
  readonly protocol?: string;
  readonly host?: string;
}

/** The target of each Fetch request. A request always has the same one, so that its proof is not taken for a replay. */
const targets = new WeakMap<IncomingRequest, Target>();

function targetOf(request: IncomingRequest): Target {
  const known = targets.get(request);
  if (known) return known;
  const { method, url } = request;
  const parts = url !== undefined && URL.canParse(url) ? new URL(url) : undefined;
  const target = parts
    ? { method, url: parts.pathname + parts.search, protocol: parts.protocol.slice(0, -1), host: parts.host }
    : { method, url };
  targets.set(request, target);
  return target;
}
