import { Inject, Injectable } from '@nestjs/common';
import { HttpAdapterHost } from '@nestjs/core';
import { DpopProofs } from '../binding/dpop.js';
import { DeviceProofRequiredError } from '../errors.js';
import type { SenderProof } from '../session/binding.js';
import { SessionPolicies } from '../session/policies.js';
import { errorOf } from '../session/sender-check.js';
import type { SessionClaims } from '../token/access-token.js';
import { DPOP_HEADER, urlOf } from './access-call.js';
import { setNonce } from './error-headers.js';
import { HTTP_CONFIG, type HttpConfig } from './options.js';
import { transportOf } from './refresh-transport.js';
import type { CredentialsCarrier } from './request.js';
import { responseOf } from './response.interceptor.js';

/** Reads the DPoP proof of a login or a refresh, if the tokens travel in the body (RFC 9449 section 5). */
@Injectable()
export class DpopTransport {
  constructor(
    @Inject(HTTP_CONFIG) private readonly config: HttpConfig,
    private readonly policies: SessionPolicies,
    private readonly proofs: DpopProofs,
    private readonly adapterHost: HttpAdapterHost,
  ) {}

  /**
   * Reads the proof of a login. The new session is then bound to its key.
   * @param type the session type, in any case
   * @returns undefined if the request has no proof, or if the policy does not bind sessions: such a client gets bearer tokens
   * @throws DeviceProofRequiredError if the policy requires a proof and the request has none
   * @throws InvalidDpopProofError if the proof is not valid
   * @throws UseDpopNonceError if the proof has no recent nonce of ours
   */
  atLogin(request: unknown, type: string): SenderProof | undefined {
    const { binding } = this.policies.named(type).config;
    if (binding === 'off' || this.isInCookies(request)) return undefined;
    const proof = this.proofOf(request as CredentialsCarrier);
    if (!proof && binding === 'require') throw new DeviceProofRequiredError();
    return proof;
  }

  /**
   * Reads the proof of a refresh. The session says whether it needs one.
   * @returns undefined if the request has no proof
   * @throws InvalidDpopProofError if the proof is not valid
   * @throws UseDpopNonceError if the proof has no recent nonce of ours
   */
  atRefresh(request: unknown): SenderProof | undefined {
    return this.isInCookies(request) ? undefined : this.proofOf(request as CredentialsCarrier);
  }

  /**
   * Reads the proof of a reauthentication. If the caller's session is bound, the guard has verified the proof, and the new session is
   * bound to the same key. Otherwise, this does the same as `atLogin`.
   */
  atReauthentication(request: unknown, { confirmation, sessionType }: SessionClaims): SenderProof | undefined {
    if (confirmation === undefined || this.isInCookies(request)) return this.atLogin(request, sessionType);
    return { kind: 'dpop', thumbprint: confirmation };
  }

  private proofOf(request: CredentialsCarrier): SenderProof | undefined {
    const header = request.headers?.[DPOP_HEADER];
    if (header === undefined) return undefined;
    const url = urlOf(request, this.config.publicOrigins);
    const verdict = this.proofs.verify(String(header), { method: request.method ?? '', url });
    if ('code' in verdict) throw errorOf(verdict);
    const { thumbprint, nextNonce } = verdict;
    if (nextNonce !== undefined) setNonce(this.adapterHost.httpAdapter, responseOf(request), nextNonce);
    return { kind: 'dpop', thumbprint };
  }

  private isInCookies(request: unknown): boolean {
    return transportOf(request as CredentialsCarrier, this.config) === 'cookie';
  }
}
