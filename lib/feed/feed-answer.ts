/** The answer of `GET revocations`, as JSON. All times are in milliseconds since 1970, and all time spans in milliseconds. */
export interface FeedAnswer {
  /** The database's time when the answer was made. */
  readonly now: number;
  /** The database's time at which the process began its last successful poll. It knows every session that had ended by then. */
  readonly polled_at: number;
  /** How long the process has waited for news before it answered. */
  readonly waited: number;
  /** What the next request sends as `after`. */
  readonly cursor: string;
  /**
   * Whether the process knows all ended sessions. It does not if there are more than `revocation.maxEntries`. The receiver then
   * asks `verify/` about each token.
   */
  readonly complete: boolean;
  /** Whether the receiver must read all pages, because the process no longer knows what is new since `after`. */
  readonly full: boolean;
  /** The expiry of the last access token of each ended session, by session id. */
  readonly ended: Readonly<Record<string, number>>;
  /** The same for sessions that only a push has announced. They count until two polls have not confirmed them. */
  readonly announced: Readonly<Record<string, number>>;
  /** With `page`: the number of the next page; null if this is the last one. */
  readonly next_page: number | null;
  /** How many ended sessions all pages have. */
  readonly size: number;
  readonly epoch: FeedEpoch;
  readonly tokens: FeedTokens;
  /** Every session type of the process, by name. Receivers refuse tokens of other types. */
  readonly types: Readonly<Record<string, FeedType>>;
}

/** The epoch of the database: see "Restore a backup". */
export interface FeedEpoch {
  readonly current: string;
  /** The epoch of tokens that do not state one. */
  readonly first: string;
}

/** How to read an access token. */
export interface FeedTokens {
  /** The claim `iss`; null if tokens have none. */
  readonly issuer: string | null;
  readonly user_id_claim: string;
  readonly user_id_type: 'string' | 'number';
  readonly token_type_claim: string;
  readonly jti_claim: string;
  readonly clock_tolerance: number;
}

/** What a receiver needs of the policy of a session type. */
export interface FeedType {
  readonly access_token_lifetime: number;
  readonly access_check: 'signature' | 'blacklist' | 'session';
}
