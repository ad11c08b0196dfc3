import type { EntityManager } from 'typeorm';
import type { DemoUser } from './demo-user.js';
import { hashPassword } from './passwords.js';
import { User } from './user.entity.js';

/** Adds the demo users; those who are there already get the password and the state that are given, and keep their ids. */
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
