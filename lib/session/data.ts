import { SessionDataError } from '../errors.js';

/** What JSON can say. */
export type JsonValue = null | boolean | number | string | readonly JsonValue[] | { readonly [key: string]: JsonValue };

/** A session's data: the application's own, kept on the server. */
export type SessionData = Readonly<Record<string, JsonValue>>;

/** What is merged into a session's data: each key replaces the one that is there, and null takes it away. */
export type SessionDataPatch = Readonly<Record<string, JsonValue | undefined>>;

/** The most that a session's data may take, in bytes of JSON in UTF-8. */
export const MAX_DATA_BYTES = 32 * 1024;

const MAX_DEPTH = 32;

/** @throws SessionDataError where it is more than `most` bytes, or would not come back from JSON as it is */
export function checkData(data: object, { name = 'data', most = MAX_DATA_BYTES } = {}): void {
  assertJson(data, name, 0);
  const size = Buffer.byteLength(JSON.stringify(data));
  if (size > most) throw new SessionDataError(`${name}: takes ${size} bytes as JSON, and ${most} is the most`);
}

/** The data with the patch in it, as JSON merge patch has it at the top (RFC 7396): deeper values are replaced whole. @throws as `checkData` */
export function mergeData(data: Readonly<Record<string, unknown>> | null, patch: SessionDataPatch): SessionData {
  assertJson(patch, 'data', 0);
  // By entries, so that a key named __proto__ is a key.
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
  if (depth > MAX_DEPTH) throw new SessionDataError(`${path}: is nested more than ${MAX_DEPTH} deep`);
  if (value === null || value === undefined || typeof value === 'boolean' || typeof value === 'string') return;
  if (typeof value === 'number' && Number.isFinite(value)) return;
  if (typeof value !== 'object' || !isPlain(value)) throw new SessionDataError(`${path}: is nothing that JSON can say`);
  for (const [key, member] of Object.entries(value)) assertJson(member, `${path}.${key}`, depth + 1);
}

/** A Date, a Map or an instance of a class would come back as something else. */
function isPlain(value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value);
  return Array.isArray(value) || prototype === Object.prototype || prototype === null;
}
