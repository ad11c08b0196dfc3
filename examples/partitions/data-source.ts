import { MULTI_SESSION_ENTITIES } from 'nestjs-multisession';
import { multiSessionMigrations } from 'nestjs-multisession/migrations';
import { DataSource } from 'typeorm';
import { partitionBlacklist, partitionSessions } from './partitions.js';

export const dataSource = new DataSource({
  type: 'postgres',
  url: process.env.DATABASE_URL,
  entities: [...MULTI_SESSION_ENTITIES],
  migrations: [...multiSessionMigrations, partitionBlacklist({ days: 1 }), partitionSessions({ partitions: 16 })],
});
