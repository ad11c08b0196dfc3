import { randomBytes } from 'node:crypto';

/** The URL of Redis. It must be available if `TEST_DATABASES` names a database with a server. */
export const REDIS_URL = process.env.TEST_REDIS_URL ?? 'redis://127.0.0.1:6379';

/** Creates the name of a channel that no other test uses. */
export const newChannel = (): string => `ms_test_${randomBytes(6).toString('hex')}`;
