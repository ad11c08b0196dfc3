import type { AccessCall } from '../binding/access-sender.js';
import { Target } from '../binding/target.js';
import type { HttpConfig } from './options.js';
import { type CredentialsCarrier, headerOf } from './request.js';

/** The header with a proof (RFC 9449 section 4.1), in lower case. */
export const DPOP_HEADER = 'dpop';

/** The parts of a request from which its URL is made: of Express, Fastify, Node.js, and of a handshake of Socket.IO. */
interface Request extends CredentialsCarrier {
  readonly originalUrl?: string;
  readonly url?: string;
  readonly protocol?: string;
  readonly host?: string;
  readonly secure?: boolean;
  readonly socket?: { readonly encrypted?: boolean };
}

const WITHOUT_REQUEST: AccessCall = { method: '', url: '' };

/** Keeps the call of a request. All checks of one request see the same one, so that its proof is not taken for a replay. */
class Holder extends Target {
  #call?: AccessCall;

  static find(request: object): AccessCall | undefined {
    return #call in request ? request.#call : undefined;
  }

  static set(request: object, call: AccessCall): void {
    (#call in request ? request : new Holder(request)).#call = call;
  }
}

/**
 * Describes the request that carries an access token and a proof. Handshakes are GET requests.
 * @param carrier whose request may have opened a socket. All its messages then have the same call, until the client sends another
 * proof
 * @param proof empty if the request has none
 * @returns a call without a proof if no HTTP request is behind the carrier, as in a microservice: a proof must name its URL
 */
export function accessCallOf(
  carrier: CredentialsCarrier,
  proof: string,
  { publicOrigins }: Pick<HttpConfig, 'publicOrigins'>,
): AccessCall {
  const request: Request = carrier.request ?? carrier;
  if (request.url === undefined) return WITHOUT_REQUEST;
  const known = Holder.find(request);
  if (known?.proof === proof) return known;
  const call = { method: request.method ?? 'GET', url: urlOf(request, publicOrigins), proof };
  Holder.set(request, call);
  return call;
}

/** Returns the call that was described for a request, if there is one. */
export function knownCallOf(carrier: CredentialsCarrier): AccessCall | undefined {
  return Holder.find(carrier.request ?? carrier);
}

/**
 * Returns the URL of a request as the client sees it.
 * @param publicOrigins the origins that the client may have used. If there are none, the framework decides, which reads the
 *   headers of a proxy if it trusts the proxy
 */
export function urlOf(request: CredentialsCarrier, publicOrigins: readonly string[]): string {
  const { originalUrl, url = '/', protocol, secure, socket } = request as Request;
  const isEncrypted = secure === true || socket?.encrypted === true;
  const host = (request as Request).host ?? headerOf(request, 'host') ?? headerOf(request, ':authority') ?? '';
  const seen = `${protocol ?? (isEncrypted ? 'https' : 'http')}://${host}`;
  const suffix = `//${host.toLowerCase()}`;
  const origin =
    publicOrigins.length > 0 ? (publicOrigins.find((known) => hasHost(known, suffix)) ?? publicOrigins[0]) : seen;
  return origin + pathOf(originalUrl ?? url);
}

/** Whether an origin, which may have a path, has this host. */
function hasHost(origin: string, suffix: string): boolean {
  return origin.endsWith(suffix) || origin.includes(`${suffix}/`);
}

/** Returns the path and query of a request target, which may be a whole URI (RFC 9112 section 3.2.2). */
function pathOf(target: string): string {
  if (target.startsWith('/')) return target;
  if (!URL.canParse(target)) return '/';
  const { pathname, search } = new URL(target);
  return pathname + search;
}
