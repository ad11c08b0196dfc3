import type { Answer, TestApp } from './app.js';
import {
  constants,
  createHash,
  generateKeyPairSync,
  type JsonWebKey,
  type KeyObject,
  randomUUID,
  sign,
  type SignKeyObjectInput,
} from 'node:crypto';

/** A client's key pair, with the algorithm that it signs proofs with. */
export interface ProofKeys {
  readonly alg: string;
  readonly privateKey: KeyObject;
  readonly jwk: JsonWebKey;
}

/** Makes a key pair for an algorithm of proofs. */
export function proofKeys(alg = 'ES256', bits = 2048): ProofKeys {
  const { privateKey, publicKey } = pairFor(alg, bits);
  return { alg, privateKey, jwk: publicKey.export({ format: 'jwk' }) };
}

function pairFor(alg: string, bits: number) {
  if (alg === 'ES256' || alg === 'ES384')
    return generateKeyPairSync('ec', { namedCurve: alg === 'ES256' ? 'P-256' : 'P-384' });
  return alg.startsWith('Ed') ? generateKeyPairSync('ed25519') : generateKeyPairSync('rsa', { modulusLength: bits });
}

/** What a proof says. Undefined members are left out. */
export interface ProofText {
  readonly header?: object;
  readonly claims?: object;
  /** The access token whose hash the proof contains. Default: none. */
  readonly accessToken?: string;
}

/** Writes proofs by hand, so that a test can write wrong ones. */
export function proofBy({ alg, privateKey, jwk }: ProofKeys, { header, claims, accessToken }: ProofText = {}): string {
  const text = [
    { typ: 'dpop+jwt', alg, jwk, ...header },
    {
      jti: randomUUID(),
      iat: Math.floor(Date.now() / 1000),
      ...(accessToken !== undefined && { ath: createHash('sha256').update(accessToken).digest('base64url') }),
      ...claims,
    },
  ]
    .map((part) => Buffer.from(JSON.stringify(part)).toString('base64url'))
    .join('.');
  return `${text}.${signatureBy(alg, privateKey, text).toString('base64url')}`;
}

function signatureBy(alg: string, key: KeyObject, text: string): Buffer {
  const options: Record<string, Omit<SignKeyObjectInput, 'key'>> = {
    PS256: { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_DIGEST },
    ES256: { dsaEncoding: 'ieee-p1363' },
    ES384: { dsaEncoding: 'ieee-p1363' },
  };
  const hashName = alg.startsWith('Ed') ? null : `sha${alg.slice(2)}`;
  return sign(hashName, Buffer.from(text), { key, ...options[alg] });
}

/** Sends requests with proofs, as a careful client does: it uses the newest nonce, and repeats a request that needs another. */
export class ProvingClient {
  nonce?: string;

  /** @param url the URL of the application, which proofs name */
  constructor(
    private readonly app: Pick<TestApp, 'request'> & { readonly url?: string },
    readonly keys = proofKeys(),
    private readonly url = app.url ?? '',
  ) {}

  /** Writes a proof for a request. */
  proof(method: string, path: string, accessToken?: string, claims: object = {}): string {
    const htu = this.url + path.split('?')[0];
    return proofBy(this.keys, { claims: { htm: method, htu, nonce: this.nonce, ...claims }, accessToken });
  }

  /** Returns the headers of a request. */
  headers(method: string, path: string, accessToken?: string): Record<string, string> {
    return {
      dpop: this.proof(method, path, accessToken),
      ...(accessToken !== undefined && { authorization: `DPoP ${accessToken}` }),
    };
  }

  async send(
    method: string,
    path: string,
    { token, body, headers }: { token?: string; body?: unknown; headers?: Record<string, string> } = {},
  ): Promise<Answer> {
    for (let attempt = 1; ; attempt++) {
      const answer = await this.app.request(method, path, {
        body,
        headers: { ...this.headers(method, path, token), ...headers },
      });
      this.nonce = answer.headers.get('dpop-nonce') ?? this.nonce;
      // A gateway answers with a body of its own.
      const isRefused = answer.headers.get('www-authenticate')?.startsWith('DPoP error="use_dpop_nonce"');
      if (!(isRefused || answer.body.code === 'use_dpop_nonce') || attempt === 2) return answer;
    }
  }

  /** Sends a POST to a session route. */
  post(route: string, body: unknown, token?: string): Promise<Answer> {
    return this.send('POST', `/api/session/${route}`, { body, token });
  }
}
