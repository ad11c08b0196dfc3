import { UnavailableError } from '../errors.js';
import type { Claims } from '../token/claims.js';
import { IssuerKeys, type Jwk } from '../token/issuer-keys.js';

/** How long the provider may take to answer, in milliseconds. */
const TIMEOUT = 5000;
const MAX_BYTES = 1_000_000;

/**
 * The public keys of an identity provider. They are loaded when the first signal arrives, so the application starts while the
 * provider is away.
 */
export class ProviderKeys {
  private readonly keys: IssuerKeys;

  /** @param algorithm the algorithm of keys that do not state one */
  constructor(
    private readonly uri: string,
    algorithm: string,
  ) {
    this.keys = new IssuerKeys(
      () => this.load(),
      () => ({ audience: false }),
      algorithm,
    );
  }

  /**
   * Verifies a signature.
   * @returns the claims, or undefined if none of the provider's keys has signed the token
   * @throws UnavailableError if the keys cannot be loaded
   */
  async verify(token: string): Promise<Claims | undefined> {
    const { keys } = this;
    if (keys.isDue || keys.isUnknown(token))
      await keys.reload().catch((cause: unknown) => {
        // Old keys may be used for a while, but not to decide that a key does not exist.
        if (!keys.isUsable || keys.isUnknown(token))
          throw new UnavailableError(new Error('the keys of an identity provider could not be loaded', { cause }));
      });
    return keys.verify(token);
  }

  private async load(): Promise<readonly Jwk[]> {
    const response = await fetch(this.uri, {
      headers: { accept: 'application/json', 'cache-control': 'no-cache' },
      redirect: 'error',
      signal: AbortSignal.timeout(TIMEOUT),
    });
    if (!response.ok || Number(response.headers.get('content-length') ?? 0) > MAX_BYTES) {
      await response.body?.cancel();
      throw new Error(`the keys at ${this.uri} were answered with ${response.status}`);
    }
    const { keys } = ((await response.json()) ?? {}) as { keys?: unknown };
    if (!Array.isArray(keys)) throw new Error(`the answer of ${this.uri} has no list of keys`);
    return keys as Jwk[];
  }
}
