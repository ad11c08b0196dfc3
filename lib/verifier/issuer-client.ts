import { scryptSync } from 'node:crypto';
import { AccessSenders } from '../binding/access-sender.js';
import { DpopProofs } from '../binding/dpop.js';
import { RemoteClock } from '../database/remote-clock.js';
import { feedTimeout } from '../engine/timing.js';
import { PushMessages } from '../revocation/push-message.js';
import { RevokedSessions } from '../revocation/revoked-sessions.js';
import { FeedReceiver } from './feed-receiver.js';
import { IssuerApi } from './issuer-api.js';
import { IssuerKeys } from '../token/issuer-keys.js';
import type { VerifierConfig } from './options.js';
import { RemoteAccess } from './remote-access.js';

/** How well a service knows its issuer. */
export interface VerifierHealth {
  /** `'down'` if every token is refused with 503. */
  readonly status: 'up' | 'down';
  /** How old the knowledge of ended sessions is, in milliseconds. Null before the issuer has answered once. */
  readonly feedLag: number | null;
  /** Whether `feedLag` is beyond `maxStaleness`. */
  readonly stale: boolean;
  /** Whether there are more ended sessions than `maxEntries`. Each token is then shown to the issuer. */
  readonly overflow: boolean;
  /** How many public keys of the issuer are known. Without any, every token is refused. */
  readonly keys: number;
}

/** Everything that a service needs of its issuer: keys, ended sessions, and the verdict that follows. */
export class IssuerClient {
  readonly access: RemoteAccess;
  private readonly api: IssuerApi;
  private readonly keys: IssuerKeys;
  private readonly feed: FeedReceiver;
  private readonly revoked: RevokedSessions;
  private readonly clock = new RemoteClock();
  private readonly listeners = new Set<(sessionId: string) => void>();
  private areKeysFailing = false;

  constructor(private readonly config: VerifierConfig) {
    const { audience, logger, maxStaleness } = config;
    this.api = new IssuerApi(config);
    this.revoked = new RevokedSessions(
      config,
      (text) => logger.warn(text),
      () => this.clock.read(),
    );
    this.revoked.onRevoked(({ sessionId }) => {
      for (const listener of this.listeners) this.call(listener, sessionId);
    });
    this.keys = new IssuerKeys(
      () => this.api.keys(feedTimeout(maxStaleness)),
      () => ({ audience, issuer: this.feed.state?.tokens.issuer ?? undefined }),
    );
    this.feed = new FeedReceiver(this.api, config, this.revoked, this.clock, () => this.reloadKeysIfDue());
    const proofs = new DpopProofs(
      () => [nonceKeyOf(config)],
      () => this.access.now(),
    );
    const senders = new AccessSenders(proofs);
    this.access = new RemoteAccess(config, this.api, this.keys, this.feed, this.revoked, this.clock, senders);
  }

  /** Asks the issuer once, and goes on in the background. If the issuer is away, tokens get 503 until it answers. */
  async start(): Promise<void> {
    this.startPush();
    await Promise.all([this.feed.start(), this.reloadKeys()]);
  }

  async stop(): Promise<void> {
    this.api.close();
    await Promise.all([this.feed.stop(), this.config.push?.stop()]);
  }

  /** Whether tokens can be verified now, and if not, why. */
  health(): VerifierHealth {
    const { revoked, keys, access } = this;
    return {
      status: access.isReady && keys.size > 0 ? 'up' : 'down',
      feedLag: Number.isFinite(revoked.lag) ? Math.round(revoked.lag) : null,
      stale: !revoked.isUpToDate(),
      overflow: revoked.isLoaded && !revoked.isComplete,
      keys: keys.size,
    };
  }

  /**
   * Calls the listener with the id of each session of whose end the service learns from now on.
   * @returns a function that removes the listener
   */
  onEnded(listener: (sessionId: string) => void): () => void {
    this.listeners.add(listener);
    return () => void this.listeners.delete(listener);
  }

  private call(listener: (sessionId: string) => void, sessionId: string): void {
    try {
      listener(sessionId);
    } catch (error) {
      this.config.logger.warn(`a listener of ended sessions failed: ${(error as Error).message}`);
    }
  }

  private reloadKeysIfDue(): void {
    if (this.keys.isDue) void this.reloadKeys();
  }

  /** Logs the first failure only, until a load succeeds. */
  private async reloadKeys(): Promise<void> {
    const { logger } = this.config;
    try {
      await this.keys.reload();
      if (this.keys.size === 0 && !this.areKeysFailing)
        logger.warn(
          "the issuer has no public keys, so every token is refused; let it sign with one, such as jwt.managed.algorithm: 'ES256'",
        );
      this.areKeysFailing = this.keys.size === 0;
    } catch (error) {
      if (!this.areKeysFailing) logger.warn(`the public keys cannot be loaded: ${(error as Error).message}`);
      this.areKeysFailing = true;
    }
  }

  private startPush(): void {
    const { push, pushKey = [], logger } = this.config;
    if (!push) return;
    const messages = new PushMessages(pushKey);
    const receive = (message: string) => {
      const now = this.clock.read();
      // Before the first answer the time is unknown. That answer brings all entries anyway.
      if (now !== undefined) for (const entry of messages.read(message, now)) this.revoked.addPushed(entry);
    };
    push
      .start(receive, (text) => logger.warn(text))
      .catch((error: Error) =>
        logger.warn(`the push of ended sessions failed, so only the feed counts: ${error.message}`),
      );
  }
}

/**
 * Derives the key of nonces from the backend key, which all processes of a service have. Clients see nonces, so a weak backend key
 * could be guessed from them. Therefore the derivation is slow, as for a password: it takes some 50 ms, once.
 */
function nonceKeyOf({ backendKey }: Pick<VerifierConfig, 'backendKey'>): Buffer {
  return scryptSync(backendKey, 'nestjs-multisession dpop nonce', 32);
}
