/** Why a signal is refused, by the codes of RFC 8935 section 2.4. */
export type SignalFault =
  'invalid_request' | 'invalid_key' | 'invalid_issuer' | 'invalid_audience' | 'authentication_failed' | 'access_denied';

/** A signal that is refused. The message goes to the provider, so it contains nothing of ours. */
export class SignalRefusedError extends Error {
  constructor(
    readonly fault: SignalFault,
    message: string,
  ) {
    super(message);
  }
}
