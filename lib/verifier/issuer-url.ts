import { isLoopbackHost } from '../token/public-url.js';

/** Returns what is wrong with the URL of an issuer; undefined if it is good. */
export function faultOfIssuer(url: string): string | undefined {
  if (!URL.canParse(url)) return "must be the URL of the session routes, such as 'https://auth.example/api/session'";
  const { protocol, hostname, username, search, hash } = new URL(url);
  if (username !== '' || search !== '' || hash !== '') return 'must have no user name, query or fragment';
  if (protocol === 'https:' || (protocol === 'http:' && isLoopbackHost(hostname))) return undefined;
  return `must begin with https://, because the backend key and the keys of the tokens travel there; got ${protocol}//`;
}
