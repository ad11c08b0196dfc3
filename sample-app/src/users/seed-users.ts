import type { EntityManager } from 'typeorm';
import type { DemoUser } from './demo-user.js';
import { hashPassword } from './passwords.js';
import { User } from './user.entity.js';

/** Adds the demo users. Existing users keep their ids, and get the given password and state. */
export async function seedUsers(manager: EntityManager, demoUsers: readonly DemoUser[]): Promise<void> {
  const users = await Promise.all(
    demoUsers.map(async ({ username, password, active }) => ({
      username,
      passwordHash: await hashPassword(password),
      active,
    })),
  );
  await manager.upsert(User, users, ['username']);
}
