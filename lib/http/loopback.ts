import { isLoopbackHost } from '../token/public-url.js';
import { type CredentialsCarrier, headerOf } from './request.js';

/** Headers that a proxy adds. A request with one of them has not come directly from the developer's own machine. */
const PROXY_HEADERS = ['forwarded', 'via', 'x-forwarded-for', 'x-forwarded-host', 'x-forwarded-proto', 'x-real-ip'];

const LOOPBACK_ADDRESS = /^(::ffff:)?127\.|^::1$/i;

/**
 * Whether a request was sent to a loopback address, and not through a proxy as far as we can tell.
 *
 * The host alone does not decide: nginx sends `Host: localhost:3000` to an upstream of that address by default. So every
 * header that a browser or a proxy adds must agree.
 */
export function isLoopbackRequest(carrier: CredentialsCarrier): boolean {
  if (PROXY_HEADERS.some((name) => carrier.headers?.[name] !== undefined)) return false;
  const host = headerOf(carrier, 'host') ?? headerOf(carrier, ':authority') ?? '';
  if (!isLoopbackHost(host.replace(/:\d+$/, ''))) return false;
  const { remoteAddress } = (carrier as { socket?: { remoteAddress?: string } }).socket ?? {};
  if (remoteAddress !== undefined && !LOOPBACK_ADDRESS.test(remoteAddress)) return false;
  return ['origin', 'referer'].every((name) => {
    const sender = headerOf(carrier, name);
    return sender === undefined || (URL.canParse(sender) && isLoopbackHost(new URL(sender).hostname));
  });
}
