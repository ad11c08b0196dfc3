import type { FeedAnswer, FeedEpoch, FeedTokens } from '../feed/feed-answer.js';

/** The policy of a session type, as far as a service needs it. */
export interface KnownType {
  /** As the options of the issuer spell it. */
  readonly name: string;
  /** In milliseconds. */
  readonly accessTokenLifetime: number;
  readonly accessCheck: 'signature' | 'blacklist' | 'session';
}

/** What the issuer has said about its tokens. */
export interface IssuerState {
  readonly epoch: FeedEpoch;
  readonly tokens: FeedTokens;
  /** Session types by their name in capitals. */
  readonly types: ReadonlyMap<string, KnownType>;
  /** The begin of the poll on which this rests, by the database's time, in milliseconds since 1970. */
  readonly polledAt: number;
  /** The texts of the parts, to see whether they have changed. */
  readonly text: string;
}

/** Reads what an answer of the feed says about tokens. Returns the same object as before if only the time has changed. */
export function stateOf({ epoch, tokens, types, polled_at: polledAt }: FeedAnswer, before?: IssuerState): IssuerState {
  const text = JSON.stringify([epoch, tokens, types]);
  if (before?.text === text) return { ...before, polledAt };
  const byName = Object.entries(types).map(([name, type]) => {
    const { access_token_lifetime: accessTokenLifetime, access_check: accessCheck } = type;
    return [name.trim().toUpperCase(), { name, accessTokenLifetime, accessCheck }] as const;
  });
  return { epoch, tokens, types: new Map(byName), polledAt, text };
}
