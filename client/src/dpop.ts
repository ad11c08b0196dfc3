import type { SessionClient } from './types.js';

/** The routes that issue tokens. They take a proof without an access token. */
const ISSUES_TOKENS = /\/(login|refresh)\/?$/;
const BEARER = /^Bearer ([\w-]+\.[\w-]+\.[\w-]+)$/i;
const DATABASE = 'nestjs-multisession-keys';
const STORE = 'keys';
/** The only key in the database. All sessions of an origin share it. */
const KEY = 'dpop';

type Send = typeof globalThis.fetch;

/** A key pair whose private key no script can read, and the parts of its proofs that never change. */
interface Signer {
  readonly key: CryptoKey;
  readonly header: string;
}

let opened: Promise<Signer> | undefined;
/** The newest nonce of each origin. */
const nonces = new Map<string, string>();

/**
 * Sends requests with proofs of a key that only this browser or app has (DPoP, RFC 9449). Logins and refreshes always get one, and
 * other requests if their access token is bound to a key. If the server asks for a nonce, the request is sent once more.
 * @param url the absolute URL of the session routes
 * @param send sends the requests. Default: the global `fetch`
 */
export function dpopFetch(url: string, send: Send = globalThis.fetch): Send {
  return async (input, init) => {
    const request = (input as Request).url ? (input as Request) : undefined;
    const target = new URL(request?.url ?? (input as string | URL), globalThis.location?.href);
    const method = init?.method ?? request?.method ?? 'GET';
    const headers = new Headers(init?.headers ?? request?.headers);
    const token = boundToken(headers.get('Authorization'));
    const issuesTokens = method === 'POST' && target.href.startsWith(url) && ISSUES_TOKENS.test(target.pathname);
    if (!token && !issuesTokens) return send(input, init);
    const isStream = (init?.body as Partial<ReadableStream> | undefined)?.getReader;
    for (let isFirst = true; ; isFirst = false) {
      if (token) headers.set('Authorization', `DPoP ${token}`);
      headers.set('DPoP', await proofFor(target, method, token));
      const response = await send(request && isFirst ? request.clone() : input, { ...init, headers });
      const nonce = response.headers.get('DPoP-Nonce');
      if (nonce) nonces.set(target.origin, nonce);
      const code = await codeOf(response);
      // The session is bound to a key that this browser has lost, so it cannot go on.
      if (code === 'device_proof_required' && issuesTokens) return ended();
      // The server asks for its newest nonce, or has seen the proof before: a proxy or the browser may have sent it twice.
      const mayRepeat = isFirst && !isStream && (code === 'use_dpop_nonce' || code === 'invalid_dpop_proof');
      if (!mayRepeat) return response;
    }
  };
}

/**
 * Returns the headers for a request that `client.fetch` does not send, such as the handshake of a socket: `Authorization`, and
 * `DPoP` if the access token is bound to a key.
 * @param url the URL of the request; that of a socket may begin with `wss:`
 * @param method the HTTP method. Default: GET, as for the handshake of a socket
 */
export async function proofHeaders(
  client: Pick<SessionClient, 'headersFor'>,
  url: string,
  method = 'GET',
): Promise<Record<string, string>> {
  const target = new URL(url, globalThis.location?.href);
  target.protocol = target.protocol.replace('ws', 'http');
  const headers = await client.headersFor(target.href);
  const token = boundToken(headers.Authorization);
  if (!token) return headers;
  return { ...headers, Authorization: `DPoP ${token}`, DPoP: await proofFor(target, method, token) };
}

const CHALLENGE = /^DPoP error="(use_dpop_nonce|invalid_dpop_proof)"/;

/** Returns the code of a refusal. A gateway passes on only the header, with a body of its own. */
async function codeOf(response: Response): Promise<string | undefined> {
  if (response.status !== 400 && response.status !== 401) return undefined;
  const challenge = CHALLENGE.exec(response.headers.get('WWW-Authenticate') ?? '')?.[1];
  if (challenge) return challenge;
  const body: unknown = await response
    .clone()
    .json()
    .catch(() => undefined);
  return (body as { code?: string } | undefined)?.code;
}

/** The answer to a refresh of a session that is over. */
function ended(): Response {
  return Response.json(
    { code: 'session_not_found', message: 'This browser has lost the key of the session' },
    { status: 401 },
  );
}

async function proofFor({ origin, pathname }: URL, method: string, token: string | undefined): Promise<string> {
  const { key, header } = await (opened ??= openSigner());
  const claims = {
    jti: crypto.randomUUID(),
    htm: method,
    htu: origin + pathname,
    iat: Math.floor(Date.now() / 1000),
    nonce: nonces.get(origin),
    ath: token && encoded(await crypto.subtle.digest('SHA-256', bytesOf(token))),
  };
  const text = `${header}.${encoded(bytesOf(JSON.stringify(claims)))}`;
  const signature = await crypto.subtle.sign({ name: 'ECDSA', hash: 'SHA-256' }, key, bytesOf(text));
  return `${text}.${encoded(signature)}`;
}

/**
 * Returns the access token of an authorization header if it names a key. The client cannot verify it, and nothing depends on
 * that: the server does.
 */
function boundToken(header: string | null | undefined): string | undefined {
  const token = BEARER.exec(header ?? '')?.[1];
  try {
    const payload = atob((token as string).split('.')[1].replace(/-/g, '+').replace(/_/g, '/'));
    return (JSON.parse(payload) as { cnf?: { jkt?: string } }).cnf?.jkt ? token : undefined;
  } catch {
    return undefined;
  }
}

async function openSigner(): Promise<Signer> {
  const pair = await keptPair();
  const { kty, crv, x, y } = await crypto.subtle.exportKey('jwk', pair.publicKey);
  const header = { typ: 'dpop+jwt', alg: 'ES256', jwk: { kty, crv, x, y } };
  return { key: pair.privateKey, header: encoded(bytesOf(JSON.stringify(header))) };
}

/** Returns the key pair of this browser. All tabs get the same one. */
async function keptPair(): Promise<CryptoKeyPair> {
  const made = await crypto.subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-256' }, false, ['sign', 'verify']);
  try {
    return await kept(made);
  } catch {
    // No IndexedDB, as in some apps and private windows. The session then ends with the page.
    return made;
  }
}

/** Stores a key pair, unless there is one. Reading and writing are one transaction, so that tabs agree on a pair. */
function kept(made: CryptoKeyPair): Promise<CryptoKeyPair> {
  return new Promise((resolve, reject) => {
    const opening = indexedDB.open(DATABASE, 1);
    opening.onerror = () => reject(new Error('IndexedDB is not available'));
    opening.onupgradeneeded = () => opening.result.createObjectStore(STORE);
    opening.onsuccess = () => {
      const database = opening.result;
      const transaction = database.transaction(STORE, 'readwrite');
      const store = transaction.objectStore(STORE);
      const reading = store.get(KEY) as IDBRequest<CryptoKeyPair | undefined>;
      reading.onsuccess = () => {
        if (!reading.result) store.put(made, KEY);
      };
      transaction.oncomplete = () => {
        database.close();
        resolve(reading.result ?? made);
      };
      transaction.onabort = () => reject(new Error('IndexedDB is full'));
    };
  });
}

function bytesOf(text: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(text);
}

/** Encodes bytes in base64url without padding. */
function encoded(bytes: ArrayBuffer | Uint8Array): string {
  const text = String.fromCharCode(...new Uint8Array(bytes));
  return btoa(text).replace(/\+/g, '-').replace(/\//g, '_').replace(/=+$/, '');
}
