import type { MultiSessionOptions } from 'nestjs-multisession';
import { type MultiSessionConfig, readOptions } from '../../lib/engine/options.js';
import { DEFAULT_OPTIONS } from './app.js';

/** Checks and completes the tests' options with these changes. */
export function configOf(change: Partial<MultiSessionOptions> = {}): MultiSessionConfig {
  const { jwt, secretKey, policies } = DEFAULT_OPTIONS;
  return readOptions({ jwt, secretKey, policies, ...change }, Object.keys(change.policies ?? policies));
}
