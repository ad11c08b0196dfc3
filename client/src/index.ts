export { createSessionClient } from './client.js';
export type { ManagedSession } from './contract.js';
export type { EndReason } from './decisions.js';
export { SessionError } from './errors.js';
export {
  asyncStorage,
  type AsyncStorageLike,
  type Awaitable,
  browserStorage,
  type Change,
  indexedDBStorage,
  memoryStorage,
  secureStorage,
  type SecureStoreLike,
  type SessionStorage,
  type StoragePage,
  tabStorage,
} from './storage.js';
export type { LoginCredentials, Refusal, SessionClient, SessionClientOptions, SessionState } from './types.js';
