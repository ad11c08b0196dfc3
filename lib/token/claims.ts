/** The claims of a token whose signature is verified. Their types and times are not checked yet. */
export type Claims = Record<string, unknown>;

/** Keys that verify tokens. */
export interface VerifyingKeys {
  /** Incremented when a key is removed. Caches of verified tokens are then invalid. */
  readonly edition: number;
  /**
   * Verifies the signature, issuer and audience. It does not check times: the caller compares them with the database's clock.
   * @returns the claims, or undefined if the token is not ours
   * @throws UnavailableError if the key may be one that this process has not read yet
   */
  verify(token: string): Claims | undefined;
}

/** Keys that also sign tokens. */
export interface SigningKeys extends VerifyingKeys {
  /**
   * Signs a token.
   * @param typ the token's explicit type (RFC 8725 section 3.11)
   * @throws UnavailableError if no signing key has been read yet
   */
  sign(claims: Claims, typ: string): string;
}
