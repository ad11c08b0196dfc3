import { MULTI_SESSION_ENTITIES } from 'nestjs-multisession';
import { multiSessionMigrations } from 'nestjs-multisession/migrations';
import { DataSource, type DataSourceOptions } from 'typeorm';
import { AddTextIds1790000000002 } from '../users/add-text-ids.migration.js';
import { CreateUsers1790000000001 } from '../users/create-users.migration.js';
import type { DemoUser } from '../users/demo-user.js';
import { seedUsers } from '../users/seed-users.js';
import { User } from '../users/user.entity.js';
import { withMigrationLock } from './migration-lock.js';

/**
 * Connects, runs the migrations of the library and of this application, and adds the demo users. Several processes
 * may do so at the same time on one database.
 */
export async function openDatabase(options: DataSourceOptions, demoUsers: readonly DemoUser[]): Promise<DataSource> {
  const dataSource = await new DataSource({
    ...options,
    entities: [...MULTI_SESSION_ENTITIES, User],
    migrations: [...multiSessionMigrations, CreateUsers1790000000001, AddTextIds1790000000002],
  }).initialize();
  try {
    await withMigrationLock(dataSource, async (transaction) => {
      await dataSource.runMigrations({ transaction });
      await seedUsers(dataSource.manager, demoUsers);
    });
    return dataSource;
  } catch (error) {
    await dataSource.destroy();
    throw error;
  }
}
