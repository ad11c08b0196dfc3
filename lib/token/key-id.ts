import { createHash, createHmac, type KeyObject } from 'node:crypto';

/** Returns the default `kid`: an HMAC with the secret as its key, or a hash of the public key. It does not reveal the secret. */
export function defaultKid({ verifyingKey }: { readonly verifyingKey: KeyObject }): string {
  const digest =
    verifyingKey.type === 'secret'
      ? createHmac('sha256', verifyingKey).update('nestjs-multisession kid').digest()
      : createHash('sha256')
          .update(verifyingKey.export({ type: 'spki', format: 'der' }))
          .digest();
  return digest.subarray(0, 9).toString('base64url');
}
