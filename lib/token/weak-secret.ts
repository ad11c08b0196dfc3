/** Secrets of our examples and demonstrations. Everybody can read them, so they protect nothing. */
const PUBLISHED = [
  'demo signing secret, which everybody knows',
  'demo-secret-key',
  'change me',
  'changeme',
  'your-256-bit-secret',
  'your-secret-key',
  'a-string-secret-at-least-256-bits-long',
];

/** Random digits have far more different bytes than this, and every other encoding has more of them. */
const MIN_DIFFERENT_BYTES = 5;

/**
 * Tells why a secret can be guessed.
 * @returns the fault and the remedy, or undefined if nothing speaks against the secret
 */
export function weaknessOf(secret: Buffer): string | undefined {
  if (PUBLISHED.includes(secret.toString('utf8')))
    return 'is a published example, so anyone can use it; give random bytes of your own';
  if (isRepetition(secret)) return 'repeats one part again and again, so it can be guessed; give random bytes';
  if (new Set(secret).size < MIN_DIFFERENT_BYTES)
    return 'has very few different characters, so it can be guessed; give random bytes';
  return undefined;
}

/** Whether a shorter text, at most half as long, gives this one when it is repeated. The last repetition may be cut off. */
function isRepetition(bytes: Buffer): boolean {
  for (let length = 1; length <= bytes.length / 2; length++) {
    if (bytes.subarray(length).equals(bytes.subarray(0, bytes.length - length))) return true;
  }
  return false;
}
