import type { SessionPolicyService } from './policy.js';
import type { SessionEntity } from './session.entity.js';

/** How a session is bound: by Device Bound Session Credentials (cookies) or by DPoP (RFC 9449, tokens in the body). */
export type BindingKind = 'dbsc' | 'dpop';

/** Shows that the holder of a key has sent a request. Make one only after you have verified the proof. */
export interface SenderProof {
  readonly kind: BindingKind;
  /** The SHA-256 thumbprint of the public key (RFC 7638), in base64url. */
  readonly thumbprint: string;
}

/** A public key that a browser registers for a session. */
export interface DeviceKey {
  /** The SHA-256 thumbprint of the key (RFC 7638), in base64url. */
  readonly thumbprint: string;
  /** The public key. A refresh proof does not contain it. */
  readonly jwk: Readonly<Record<string, unknown>>;
}

/** The columns of a session that say to which key it is bound. */
export type BoundRow = Pick<SessionEntity, 'binding' | 'pendingBinding'>;

/** Returns how the columns `binding` and `pendingBinding` store a key. */
export function bindingOf({ kind, thumbprint }: SenderProof): string {
  return `${kind}:${thumbprint}`;
}

/** Returns the thumbprint of the key to which the access tokens of a session are bound. Only DPoP binds access tokens. */
export function confirmationOf({ binding }: Pick<SessionEntity, 'binding'>): string | undefined {
  return binding?.startsWith('dpop:') ? binding.slice('dpop:'.length) : undefined;
}

/**
 * What a binding demands of a refresh or a renewal:
 *
 * - `met`: the request proves the key, or the session is not bound.
 * - `proof-required`: the session is bound, and the request does not prove its key.
 * - `too-late`: the policy demands a binding, and the session has not got one in time.
 */
export type BindingDemand = 'met' | 'proof-required' | 'too-late';

/**
 * Compares a request with the binding of its session. The statements of a refresh contain the same condition: see `piecesOf`.
 *
 * Invariant: once a session is bound, no refresh succeeds without a proof by its key, whatever the options of this process
 * are. A proof of another key counts as none.
 */
export function demandOf(
  row: BoundRow & Pick<SessionEntity, 'createdAt'>,
  { values }: Pick<SessionPolicyService, 'values'>,
  proof: SenderProof | undefined,
  now: number,
): BindingDemand {
  const shown = proof && bindingOf(proof);
  if (row.binding !== null) return row.binding === shown ? 'met' : 'proof-required';
  const isFirstProof = shown !== undefined && row.pendingBinding === shown;
  return isFirstProof || now < row.createdAt.getTime() + values.bindBefore ? 'met' : 'too-late';
}

/** Whether a refresh with this proof binds the session: it is the first proof by the key that the browser has registered. */
export function isFirstProof(row: BoundRow, proof: SenderProof | undefined): boolean {
  return row.binding === null && proof !== undefined && row.pendingBinding === bindingOf(proof);
}
