import { SessionDataError } from '../errors.js';

/** A value that JSON can represent. */
export type JsonValue = null | boolean | number | string | readonly JsonValue[] | { readonly [key: string]: JsonValue };

/** The data of a session. It belongs to the application and stays on the server. */
export type SessionData = Readonly<Record<string, JsonValue>>;

/** A change of a session's data. Each key replaces the old value of that key, and null removes the key. */
export type SessionDataPatch = Readonly<Record<string, JsonValue | undefined>>;

/** Maximum size of a session's data, in bytes of JSON in UTF-8. */
export const MAX_DATA_BYTES = 32 * 1024;

/** Maximum number of levels below the top. */
const MAX_DEPTH = 32;

/**
 * Checks the size of the data, and that JSON can represent it without loss.
 * @param data an object whose keys may have any name
 * @throws SessionDataError if it is larger than `most` bytes (default: `MAX_DATA_BYTES`), nested too deep, or not JSON
 */
export function checkData(data: object, { name = 'data', most = MAX_DATA_BYTES } = {}): void {
  assertJson(data, name, 0);
  const size = Buffer.byteLength(JSON.stringify(data));
  if (size > most) throw new SessionDataError(`${name}: is ${size} bytes as JSON, but at most ${most} are allowed`);
}

/**
 * Returns the data with the patch applied. This is a JSON merge patch (RFC 7396) of the top level only: nested values are
 * replaced as a whole. Changes neither argument.
 * @throws SessionDataError if the patch is not JSON, or the result is too large or nested too deep
 */
export function mergeData(data: Readonly<Record<string, unknown>> | null, patch: SessionDataPatch): SessionData {
  assertJson(patch, 'data', 0);
  // A Map, so that `__proto__` is a key like any other.
  const merged = new Map<string, unknown>(Object.entries(data ?? {}));
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) merged.delete(key);
    else if (value !== undefined) merged.set(key, value);
  }
  const result = Object.fromEntries(merged) as SessionData;
  checkData(result);
  return result;
}

function assertJson(value: unknown, path: string, depth: number): void {
  if (depth > MAX_DEPTH) throw new SessionDataError(`${path}: is nested more than ${MAX_DEPTH} levels deep`);
  if (value === null || value === undefined || typeof value === 'boolean' || typeof value === 'string') return;
  if (typeof value === 'number' && Number.isFinite(value)) return;
  if (typeof value !== 'object' || !isPlain(value))
    throw new SessionDataError(`${path}: is not a value that JSON can represent`);
  for (const [key, member] of Object.entries(value)) assertJson(member, `${path}.${key}`, depth + 1);
}

/** Whether the object survives a round trip through JSON. A Date, a Map or an instance of a class does not. */
function isPlain(value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value);
  return Array.isArray(value) || prototype === Object.prototype || prototype === null;
}
