import type { DemoUser } from './users/demo-user.js';

/** For demonstrations only: these passwords are public. Replace them with DEMO_USERS. */
export const DEMO_USERS: readonly DemoUser[] = [
  { username: 'alice', password: 'alice-demo-password', active: true },
  { username: 'bob', password: 'bob-demo-password', active: true },
  { username: 'carol', password: 'carol-demo-password', active: false },
];

/** Returns the user that anybody may log in as, or undefined if the users are not those of the demonstration. */
export function publicDemoUser(users: readonly DemoUser[]): DemoUser | undefined {
  return users === DEMO_USERS ? DEMO_USERS.find(({ active }) => active) : undefined;
}
