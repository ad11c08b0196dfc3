import { randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type CryptoKey, exportJWK, generateKeyPair, type JWK, SignJWT } from 'jose';

export const LOGOUT_EVENT = 'http://schemas.openid.net/event/backchannel-logout';
export const CAEP = 'https://schemas.openid.net/secevent/caep/event-type';
export const RISC = 'https://schemas.openid.net/secevent/risc/event-type';

/** An identity provider that publishes its keys over HTTP and signs tokens. */
export interface IdentityProvider {
  readonly issuer: string;
  readonly jwksUri: string;
  /** How often its keys were asked for. */
  asked: number;
  /** The status with which it answers requests for its keys. */
  status: number;
  /** Replaces its key. */
  rotate(): Promise<void>;
  /** Signs claims with its key. `iss`, `iat` and `jti` have defaults. A claim that is undefined is left out. */
  sign(claims: Record<string, unknown>, header?: Record<string, unknown>): Promise<string>;
  close(): Promise<void>;
}

/** @param more members of its public keys. Undefined leaves one out */
export async function startIdentityProvider(more: Record<string, unknown> = {}): Promise<IdentityProvider> {
  let key: CryptoKey;
  let kid = '';
  const keys: JWK[] = [];
  const server = createServer((_, response) => {
    provider.asked++;
    response.writeHead(provider.status, { 'content-type': 'application/json' }).end(JSON.stringify({ keys }));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const issuer = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const provider: IdentityProvider = {
    issuer,
    jwksUri: `${issuer}/jwks.json`,
    asked: 0,
    status: 200,
    rotate: async () => {
      const pair = await generateKeyPair('RS256', { extractable: true });
      [key, kid] = [pair.privateKey, randomUUID()];
      keys.push({ ...(await exportJWK(pair.publicKey)), kid, alg: 'RS256', use: 'sig', ...more });
    },
    sign: (claims, header = {}) => {
      const iat = Math.floor(Date.now() / 1000);
      const payload = { iss: issuer, iat, jti: randomUUID(), ...claims };
      return new SignJWT(JSON.parse(JSON.stringify(payload)) as Record<string, unknown>)
        .setProtectedHeader({ alg: 'RS256', kid, ...header })
        .sign(key);
    },
    close: () => {
      server.closeAllConnections();
      return new Promise((resolve) => server.close(() => resolve()));
    },
  };
  await provider.rotate();
  return provider;
}
