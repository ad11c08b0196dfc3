import type { RemoteClock } from '../database/remote-clock.js';
import { FEED_PAUSE, FEED_RELOAD_AFTER, FEED_RETRY, feedTimeout, feedWait } from '../engine/timing.js';
import type { FeedAnswer } from '../feed/feed-answer.js';
import { currentMoment, type Moment, type RevokedSessions } from '../revocation/revoked-sessions.js';
import type { IssuerApi } from './issuer-api.js';
import { type IssuerState, stateOf } from './issuer-state.js';
import type { VerifierConfig } from './options.js';

/** An answer, and the moment at which the poll began on which it rests, or an earlier one. */
interface Received {
  readonly answer: FeedAnswer;
  readonly polledAt: Moment;
}

/**
 * Follows the feed of the issuer, by one request at a time that waits for news.
 *
 * Invariant: after a request, memory holds every session that had ended when the issuer's process began the poll on which its
 * answer rests. That was at least `now - polled_at` before the answer was made, and the answer was made no sooner than `waited`
 * after the request was sent. So the freshness of memory depends on no clock of another machine.
 */
export class FeedReceiver {
  private readonly stopping = new AbortController();
  private running: Promise<void> = Promise.resolve();
  private current?: IssuerState;
  private cursor?: string;
  /** The next page of the reload in the background. */
  private nextPage?: number;
  private reloadedAt = -Infinity;
  private failures = 0;
  /** Whether the last answer has brought something new, or the issuer has waited for it. */
  private hadNews = true;
  private readonly followers = new Set<() => void>();

  constructor(
    private readonly api: Pick<IssuerApi, 'revocations'>,
    private readonly config: Pick<VerifierConfig, 'maxStaleness' | 'logger'>,
    private readonly revoked: RevokedSessions,
    private readonly clock: RemoteClock,
    /** Called after each answer, with the moment's chance to load keys. */
    private readonly onAnswer: () => void = () => undefined,
  ) {}

  /** What the issuer has said about its tokens. Undefined until it has answered once. */
  get state(): IssuerState | undefined {
    return this.current;
  }

  /** Asks once, whether that succeeds or not, and goes on in the background. */
  async start(): Promise<void> {
    await this.askAndLog();
    this.running = this.follow();
  }

  /** Stops to ask. */
  async stop(): Promise<void> {
    this.stopping.abort();
    await this.running;
  }

  /**
   * Waits for an answer that rests on a poll that began after this time.
   * @param time the database's time, in milliseconds since 1970
   * @param milliseconds the longest wait
   * @returns whether there is one
   */
  async hasPolledAfter(time: number, milliseconds: number): Promise<boolean> {
    const isLater = () => (this.current?.polledAt ?? 0) > time;
    if (isLater()) return true;
    await new Promise<void>((resolve) => {
      const end = () => {
        clearTimeout(timer);
        this.followers.delete(check);
        resolve();
      };
      const check = () => isLater() && end();
      const timer = setTimeout(end, milliseconds);
      this.followers.add(check);
    });
    return isLater();
  }

  private async follow(): Promise<void> {
    while (!this.stopping.signal.aborted) {
      await this.rest();
      if (!this.stopping.signal.aborted) await this.askAndLog();
    }
  }

  /** Rests between two requests. After a failure, for a random time, so that services do not come back all at once. */
  private rest(): Promise<void> {
    const { min, max } = FEED_RETRY;
    const longest = Math.min(max, min * 2 ** this.failures);
    const pause = this.hadNews ? FEED_PAUSE.news : FEED_PAUSE.nothing;
    const time = this.failures === 0 ? pause : longest * (0.5 + Math.random() / 2);
    return new Promise((resolve) => {
      const end = () => {
        clearTimeout(timer);
        this.stopping.signal.removeEventListener('abort', end);
        resolve();
      };
      const timer = setTimeout(end, time);
      this.stopping.signal.addEventListener('abort', end);
    });
  }

  /** Logs the first failure only, until a request succeeds. */
  private async askAndLog(): Promise<void> {
    try {
      await this.ask();
      this.failures = 0;
    } catch (error) {
      const { message, cause } = error as Error;
      const reason = cause instanceof Error ? `${message} (${cause.message})` : message;
      if (this.failures++ === 0 && !this.stopping.signal.aborted)
        this.config.logger.warn(
          `the issuer cannot be asked for ended sessions; all requests are refused after ${this.config.maxStaleness} ms without an answer: ${reason}`,
        );
    }
  }

  private async ask(): Promise<void> {
    const { cursor } = this;
    const wait = cursor === undefined ? 0 : feedWait(this.config.maxStaleness);
    const received = await this.receive({ after: cursor, wait });
    const { answer } = received;
    this.current = stateOf(answer, this.current);
    const { size } = this.revoked;
    this.addNews(answer);
    this.hadNews = this.revoked.size > size || answer.waited > FEED_PAUSE.nothing;
    if (!answer.complete) {
      this.beUnableToKnow();
      this.markPolled(received);
    } else if (answer.full || (!this.revoked.isComplete && this.isReloadDue)) {
      await this.readAll();
    } else {
      await this.continueReload(answer);
      this.markPolled(received);
    }
    this.onAnswer();
    for (const check of [...this.followers]) check();
  }

  private async receive(parameters: Parameters<IssuerApi['revocations']>[0]): Promise<Received> {
    const sentAt = currentMoment();
    const answer = await this.api.revocations(parameters, feedTimeout(this.config.maxStaleness));
    const { now, polled_at: polledAt, waited } = answer;
    this.clock.learn(now, sentAt.monotonic + waited, performance.now());
    const delay = waited - Math.max(0, now - polledAt);
    return { answer, polledAt: { monotonic: sentAt.monotonic + delay, wall: sentAt.wall + delay } };
  }

  private addNews({ ended, announced, cursor }: FeedAnswer): void {
    this.revoked.addPolled(entriesOf(ended));
    for (const entry of entriesOf(announced)) this.revoked.addPushed(entry);
    this.cursor = cursor;
  }

  /** Each poll of the issuer counts once, since two polls that do not confirm a pushed entry drop it. */
  private markPolled({ polledAt }: Received): void {
    if (this.revoked.lag > performance.now() - polledAt.monotonic) this.revoked.markPolled(polledAt);
  }

  /** The issuer does not know all ended sessions, so neither do we. */
  private beUnableToKnow(): void {
    if (this.revoked.isComplete || !this.revoked.isLoaded) this.revoked.beginFullLoad(Infinity);
    this.nextPage = undefined;
    this.reloadedAt = -Infinity;
  }

  private get isReloadDue(): boolean {
    return performance.now() - this.reloadedAt >= FEED_RELOAD_AFTER;
  }

  /**
   * Reads all pages before anything else, because memory has gaps. Several processes may answer. Memory then holds what the one
   * knows that has polled first, and the news must bring the rest.
   */
  private async readAll(): Promise<void> {
    // Without a cursor: what the receiver knew from other processes may be gone.
    let earliest = await this.receive({});
    this.beginReload(earliest.answer);
    let page: number | undefined = 0;
    while (page !== undefined && this.revoked.fullLoadPosition !== undefined) {
      const received: Received = await this.receive({ page });
      if (received.answer.polled_at < earliest.answer.polled_at) earliest = received;
      page = this.addPage(received.answer);
    }
    this.cursor = earliest.answer.cursor;
    this.markPolled(earliest);
  }

  /**
   * Reads one page of the reload in the background, or begins one if it is due. A long list does not delay the news, which
   * go on meanwhile.
   */
  private async continueReload(answer: FeedAnswer): Promise<void> {
    if (this.nextPage === undefined && this.isReloadDue) {
      this.beginReload(answer);
      this.nextPage = this.revoked.fullLoadPosition === undefined ? undefined : 0;
    }
    if (this.nextPage === undefined) return;
    const received = await this.receive({ page: this.nextPage });
    this.nextPage = this.addPage(received.answer);
  }

  private beginReload({ now, size }: FeedAnswer): void {
    this.revoked.removeExpired(now);
    this.revoked.beginFullLoad(size);
    this.reloadedAt = performance.now();
    this.nextPage = undefined;
  }

  /** Adds the entries of a page, and returns the number of the next one. */
  private addPage({ ended, complete, next_page: next }: FeedAnswer): number | undefined {
    if (!complete) {
      this.beUnableToKnow();
      return undefined;
    }
    this.revoked.addPage(entriesOf(ended), next === null ? undefined : String(next));
    return next ?? undefined;
  }
}

function entriesOf(expiries: Readonly<Record<string, number>>) {
  return Object.entries(expiries).map(([sessionId, expiresAt]) => ({
    sessionId,
    expiresAt,
    userId: '',
    reason: 'ended',
  }));
}
