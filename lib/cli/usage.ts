import { readFileSync } from 'node:fs';

/** What the command reads from and writes to. */
export interface Terminal {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly out: NodeJS.WriteStream;
  readonly err: NodeJS.WriteStream;
  /** Ends the command after the current batch. */
  readonly signal: AbortSignal;
}

/** The codes with which the command exits. */
export const EXIT = { done: 0, rowsFailed: 1, usage: 2, database: 3 };

/** Wrong usage. The message is for the person who typed the command. */
export class UsageError extends Error {}

/** Reads a file with the options of the module, such as the sample application's `SESSION_CONFIG`. */
export function readJsonObject(path: string): Record<string, unknown> {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    throw new UsageError(`--config must be the path of a JSON file; ${(error as Error).message}`);
  }
  let config: unknown;
  try {
    config = JSON.parse(text);
  } catch {
    // The parser's own message quotes the text, which may hold a key.
    throw new UsageError(`--config: ${path} is not valid JSON`);
  }
  if (!isObject(config)) throw new UsageError(`--config: ${path} must hold a JSON object`);
  return config;
}

/** Whether a value is an object with members. */
export function isObject(value: unknown): value is Record<string, unknown> {
  return value !== null && typeof value === 'object' && !Array.isArray(value);
}
