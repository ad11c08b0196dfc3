import { randomUUID } from 'node:crypto';
import { type EntityManager, In } from 'typeorm';
import type { DemoUser } from './demo-user.js';
import { hashPassword } from './passwords.js';
import { User } from './user.entity.js';

/** Adds the demo users that do not exist yet. Existing users keep their password and state, which may have been changed. */
export async function seedUsers(manager: EntityManager, demoUsers: readonly DemoUser[]): Promise<void> {
  const existing = await manager.findBy(User, { username: In(demoUsers.map(({ username }) => username)) });
  const known = new Set(existing.map(({ username }) => username));
  const users = demoUsers.filter(({ username }) => !known.has(username));
  const rows = users.map(async ({ username, password, active }) => ({
    textId: randomUUID(),
    username,
    passwordHash: await hashPassword(password),
    active,
  }));
  if (rows.length > 0) await manager.insert(User, await Promise.all(rows));
}
