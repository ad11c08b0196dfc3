import type { AccessCall } from '../binding/access-sender.js';
import { MultiSessionConfigurationError } from '../configuration-error.js';
import { OptionFaults } from '../option-check.js';
import type { SessionClaims } from '../token/access-token.js';
import { IssuerClient, type VerifierHealth } from './issuer-client.js';
import { credentialsConfigOf, readVerifierOptions, type VerifierOptions } from './options.js';
import { answerHeadersOf, type IncomingRequest, sessionOfRequest } from './requests.js';

export { MultiSessionConfigurationError } from '../configuration-error.js';
export type { Duration } from '../option-check.js';
export type { RevocationPush } from '../revocation/push.js';
export type { SessionClaims } from '../token/access-token.js';
export type { CookieOptions } from '../http/cookie.options.js';
export { RefusedError } from './refused-error.js';
export type { AccessCall, IncomingRequest, VerifierHealth, VerifierOptions };

/** Verifies requests of a service without a database. Call it with each request. */
export interface Verifier {
  /**
   * Identifies the caller of a request by its access token or its access cookie.
   * @throws RefusedError if the request may not pass: answer it with the error's status, headers and body
   */
  (request: IncomingRequest): Promise<SessionClaims>;
  /**
   * Verifies an access token that has come in another way, such as in a message.
   * @param call the request with the DPoP proof, for a token that is bound to a key. Verify its token again with the same object,
   * because a proof is accepted once. Default: the token must be a bearer token
   * @throws RefusedError if it is not valid, or if the verifier cannot know now
   */
  token(token: string, call?: AccessCall): Promise<SessionClaims>;
  /**
   * Returns headers for the answer to a verified request: a newer nonce for the DPoP proofs of the client. Without them, the client
   * is refused about every two minutes, and gets the nonce then.
   */
  answerHeaders(request: IncomingRequest): Record<string, string>;
  /** Whether tokens can be verified now. Use it for readiness. */
  health(): VerifierHealth;
  /**
   * Calls the listener with the id of each session of whose end the service learns, for example to close its sockets.
   * @returns a function that removes the listener
   */
  onEnded(listener: (sessionId: string) => void): () => void;
  /** Stops to ask the issuer. Tokens are then refused once `maxStaleness` is over. */
  close(): Promise<void>;
}

/**
 * Creates a verifier for Express, Fastify, Hono and plain Node.js:
 *
 * ```ts
 * const verify = await createVerifier({ issuer: 'https://auth.example/api/session', backendKey, audience: 'notes' });
 * const session = await verify(request);
 * ```
 *
 * It waits for the first answer of the issuer. If the issuer is away, it still resolves, and requests get 503 until the issuer
 * answers.
 * @throws MultiSessionConfigurationError if the options are not valid
 */
export async function createVerifier(options: VerifierOptions): Promise<Verifier> {
  const faults = new OptionFaults();
  const config = readVerifierOptions(options, faults);
  if (faults.list.length > 0) throw new MultiSessionConfigurationError(faults.list);
  const client = new IssuerClient(config);
  await client.start();
  const credentials = credentialsConfigOf(config);
  const verify = async (request: IncomingRequest) => sessionOfRequest(request, credentials, client.access);
  return Object.assign(verify, {
    token: async (token: string, call?: AccessCall) => client.access.verify(token, call),
    answerHeaders: answerHeadersOf,
    health: () => client.health(),
    onEnded: (listener: (sessionId: string) => void) => client.onEnded(listener),
    close: () => client.stop(),
  });
}
