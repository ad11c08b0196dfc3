import type { RefreshTokenClaims, RefreshTokens } from '../token/refresh-token.js';
import type { JudgedRow } from './refresh-sql.js';
import type { SessionEntity } from './session.entity.js';

/** A refresh token that a client has presented, after its signature has been verified. */
export interface PresentedToken extends RefreshTokenClaims {
  /** The `jti` by which the row remembers this token once it is the parent. Default: `jti`. */
  readonly parentJti?: string;
  /** Whether a refresh replaces it even if the policy would keep it. Default: false. */
  readonly isReplaced?: boolean;
  /** The row that was read to find the session of an old token. */
  readonly foundIn?: JudgedRow;
  /**
   * Returns the claims that the token has for another state of the row. Only a token of an old system has it: it states no
   * generation, so its generation depends on the row.
   */
  readonly inRow?: (row: SessionEntity) => PresentedToken;
}

/** Reads refresh tokens of the systems that an application has moved away from. */
export interface OldRefreshTokens {
  /**
   * Reads an old token. If its signature is good, sends one statement to find its session.
   * @returns undefined if it is not an old token, or its session has ended
   */
  read(text: string): PresentedToken | undefined | Promise<PresentedToken | undefined>;
}

/** Reads the refresh tokens that clients present: our own, or else those of an old system. */
export class PresentedTokens {
  /** @param old Default: only our own tokens are accepted */
  constructor(
    private readonly own: RefreshTokens,
    private readonly old?: OldRefreshTokens,
  ) {}

  /**
   * Verifies a token and its epoch.
   * @returns undefined if it is neither our token nor an old one, or if a restored backup has outdated it
   * @throws UnavailableError if it cannot be decided now
   */
  async read(text: string): Promise<PresentedToken | undefined> {
    return (await this.own.verifyCurrent(text)) ?? this.old?.read(text);
  }
}
