import type { DemoUser } from './users/demo-user.js';

/*
 * For demonstrations only. These values are public, and anyone who knows the signing secret can act as any user. Replace them
 * with JWT_SECRET, SESSION_SECRET_KEY and DEMO_USERS.
 */
export const DEMO_JWT_SECRET = 'demo signing secret, which everybody knows';
export const DEMO_SECRET_KEY = 'demo-secret-key';
export const DEMO_USERS: readonly DemoUser[] = [
  { username: 'alice', password: 'alice-demo-password', active: true },
  { username: 'bob', password: 'bob-demo-password', active: true },
  { username: 'carol', password: 'carol-demo-password', active: false },
];
