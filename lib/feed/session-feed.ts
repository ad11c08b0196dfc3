import { randomBytes } from 'node:crypto';
import type { Clock } from '../database/clock.js';
import type { Epochs } from '../database/epochs.js';
import { UnavailableError } from '../errors.js';
import type { LoggedSession } from '../revocation/ended-log.js';
import type { RevocationConfig } from '../revocation/options.js';
import type { RevokedSessions } from '../revocation/revoked-sessions.js';
import type { SessionPolicies } from '../session/policies.js';
import type { TokenConfig } from '../token/options.js';
import type { FeedAnswer, FeedTokens, FeedType } from './feed-answer.js';

/** About how many entries a page has. Few enough that building and sending it does not delay other requests. */
const PAGE_SIZE = 5000;

/** What a receiver asks for. */
export interface FeedRequest {
  /** The cursor of the last answer. Default: the receiver knows nothing yet. */
  readonly after?: string | undefined;
  /** How long to wait for news, in milliseconds. At most half of `maxStaleness`. Default: 0. */
  readonly wait?: number | undefined;
  /** Which page of all ended sessions to read. Default: none, only what is new since `after`. */
  readonly page?: number | undefined;
}

/**
 * Tells other services which sessions have ended, from the memory of this process. It sends no statement.
 *
 * A cursor names, for each process that has answered the receiver, the begin of its last poll by then, by the database's time,
 * and the position in its log. A process that finds itself in the cursor sends what its log has after the position. Another one
 * sends what it has learned since the latest of these times, less `overlap`: the receiver knows everything that was committed
 * before, and a transaction that ends sessions gives up after half of `overlap`. So receivers get some sessions twice, which
 * changes nothing. A balancer may divide the requests of a receiver among all processes.
 */
export class SessionFeed {
  /** Names this process in cursors. */
  private readonly instance = randomBytes(6).toString('hex');
  private readonly tokens: FeedTokens;
  private readonly types: Readonly<Record<string, FeedType>>;
  private closing = false;

  constructor(
    private readonly revoked: RevokedSessions,
    private readonly epochs: Pick<Epochs, 'both'>,
    private readonly clock: Pick<Clock, 'now'>,
    private readonly config: Pick<RevocationConfig, 'overlap' | 'maxStaleness'>,
    policies: SessionPolicies,
    tokens: TokenConfig,
  ) {
    this.tokens = {
      issuer: tokens.issuer ?? null,
      user_id_claim: tokens.userIdClaim,
      user_id_type: tokens.userIdType,
      token_type_claim: tokens.tokenTypeClaim,
      jti_claim: tokens.jtiClaim,
      clock_tolerance: tokens.clockTolerance,
    };
    this.types = Object.fromEntries(policies.types.map((type) => [type, feedTypeOf(policies, type)]));
  }

  /**
   * Answers a receiver.
   * @throws UnavailableError if this process is stale. The receiver then asks another one, or this one again
   */
  async answer({ after, wait = 0, page }: FeedRequest): Promise<FeedAnswer> {
    const began = performance.now();
    const cursor = cursorOf(after);
    const epoch = this.known().current;
    if (page === undefined && cursor !== undefined) {
      const hasNews = () => this.closing || this.epochs.both.epoch !== epoch || this.since(cursor)?.length !== 0;
      await this.revoked.log.until(hasNews, Math.min(wait, this.config.maxStaleness / 2));
    }
    const isComplete = this.revoked.isComplete;
    const answer = {
      epoch: this.known(),
      now: this.clock.now(),
      polled_at: this.revoked.polledUntil,
      waited: Math.floor(performance.now() - began),
      complete: isComplete,
      size: this.revoked.confirmed,
      tokens: this.tokens,
      types: this.types,
    };
    if (page !== undefined) {
      const { entries, next } = this.revoked.page(page, PAGE_SIZE);
      const ended = Object.fromEntries(entries);
      return { ...answer, cursor: this.cursorAfter(), full: false, ended, announced: {}, next_page: next ?? null };
    }
    const news = cursor && this.since(cursor);
    return {
      ...answer,
      cursor: this.cursorAfter(news && cursor),
      full: isComplete && news === undefined,
      ended: expiriesOf(news?.filter(({ isPushed }) => !isPushed)),
      announced: expiriesOf(news?.filter(({ isPushed }) => isPushed)),
      next_page: null,
    };
  }

  /** Whether the process is shutting down. Receivers should then leave their connection. */
  get isClosing(): boolean {
    return this.closing;
  }

  /** Ends all waiting. Call it before the server closes, because a server waits for its requests. */
  close(): void {
    this.closing = true;
    this.revoked.log.notify();
  }

  /** Returns the epoch, if the memory of this process can be relied on. */
  private known() {
    if (!this.revoked.isUpToDate()) throw new UnavailableError(new Error('this process has not polled for too long'));
    const { epoch, first } = this.epochs.both;
    return { current: epoch, first };
  }

  private since(cursor: Cursor): readonly LoggedSession[] | undefined {
    const { log } = this.revoked;
    const own = cursor.find(({ instance }) => instance === this.instance);
    const latest = Math.max(...cursor.map(({ time }) => time));
    return (own && log.after(own.position)) ?? log.startingAt(latest - this.config.overlap);
  }

  /** Returns a cursor with this process, and with the others of the last one. */
  private cursorAfter(last: Cursor = []): string {
    const { polledUntil: time, log } = this.revoked;
    const own = { time, instance: this.instance, position: log.position };
    const others = last.filter(({ instance }) => instance !== this.instance).slice(0, MAX_PLACES - 1);
    return [own, ...others].map((place) => `${place.time}.${place.instance}.${place.position}`).join('~');
  }
}

/** Maximum number of processes in a cursor. The one that has answered last comes first. */
const MAX_PLACES = 32;

/** Where the receiver is with one process. */
interface Place {
  /** The begin of the process's last poll, by the database's time. */
  readonly time: number;
  /** The process. */
  readonly instance: string;
  /** The position in its log. */
  readonly position: number;
}

type Cursor = readonly Place[];

/** Reads a cursor. One that is not ours counts as none, so its sender reads everything. */
function cursorOf(text = ''): Cursor | undefined {
  const places = text.split('~').map((part) => /^(\d{1,15})\.([0-9a-f]{12})\.(\d{1,15})$/.exec(part));
  if (places.length > MAX_PLACES || !places.every((place) => place !== null)) return undefined;
  return places.map(([, time, instance, position]) => ({ time: Number(time), instance, position: Number(position) }));
}

function expiriesOf(news: readonly LoggedSession[] = []): Record<string, number> {
  return Object.fromEntries(news.map(({ sessionId, expiresAt }) => [sessionId, expiresAt]));
}

function feedTypeOf(policies: SessionPolicies, type: string): FeedType {
  const { accessTokenLifetime, accessCheck } = policies.named(type).config;
  return { access_token_lifetime: accessTokenLifetime, access_check: accessCheck };
}
