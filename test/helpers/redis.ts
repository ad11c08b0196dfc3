import { randomBytes } from 'node:crypto';

/** Where Redis is, unless the environment says otherwise. Whoever names a database with a server is to have it too. */
export const REDIS_URL = process.env.TEST_REDIS_URL ?? 'redis://127.0.0.1:6379';

/** A channel that no other test uses. */
export const newChannel = (): string => `ms_test_${randomBytes(6).toString('hex')}`;
