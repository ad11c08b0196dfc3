import type { ModulesContainer } from '@nestjs/core';
import type { DataSource } from 'typeorm';
import { KINDS } from '../database/dialect.js';
import { SchemaCheck } from '../database/schema-check.js';
import { type MultiSessionConfig, type MultiSessionOptions, readOptions } from '../engine/options.js';
import { MultiSessionConfigurationError } from '../errors.js';
import { MULTI_SESSION_ENTITIES } from './entities.js';

/** What `readOptions` needs to know of the static options. */
export type StaticContext = readonly [
  sessionTypes: readonly string[],
  routes: { devices: boolean; admin: boolean; signals: boolean; eventStreams: boolean },
];

/** The checked options, and the check of the tables if it has to be repeated. */
export interface StartCheck {
  readonly config: MultiSessionConfig;
  readonly schema: SchemaCheck;
  /** False if the database could not be reached. */
  readonly isSchemaKnown: boolean;
}

/**
 * Checks everything that the start depends on: the options, that there is one module, its entities and its tables.
 * @param ownToken a token that only `MultiSessionModule` provides
 * @throws MultiSessionConfigurationError that names every fault
 */
export async function checkStart(
  given: MultiSessionOptions,
  context: StaticContext,
  dataSource: DataSource,
  modules: ModulesContainer,
  ownToken: string,
): Promise<StartCheck> {
  const { config, faults } = tryOptions(given, context);
  const schema = new SchemaCheck(dataSource, MULTI_SESSION_ENTITIES);
  const ofTables = await schema.tableFaults();
  faults.push(
    ...databaseFaults(dataSource, config),
    ...moduleFaults(modules, ownToken),
    ...schema.entityFaults(),
    ...(ofTables ?? []),
  );
  if (!config || faults.length > 0) throw new MultiSessionConfigurationError(faults);
  return { config, schema, isSchemaKnown: ofTables !== undefined };
}

/** Reads the options, and returns their faults in place of an error. */
export function tryOptions(
  given: MultiSessionOptions,
  [sessionTypes, routes]: StaticContext,
): { config?: MultiSessionConfig; faults: string[] } {
  try {
    return { config: readOptions(given, sessionTypes, routes), faults: [] };
  } catch (error) {
    if (error instanceof MultiSessionConfigurationError) return { faults: [...error.faults] };
    throw error;
  }
}

function databaseFaults({ options }: DataSource, config: MultiSessionConfig | undefined): string[] {
  const { type } = options;
  if (!KINDS[type]) {
    const supported = Object.keys(KINDS).join(', ');
    return [`dataSource: the database type "${type}" is not supported; use one of ${supported}`];
  }
  if (config?.revocation.push !== 'postgres' || type === 'postgres') return [];
  return [
    `revocation.push: 'postgres' needs PostgreSQL, but the database is ${type}; leave the option out, or use another push such as redisPush`,
  ];
}

/** Two modules would share paths, tables and injection tokens. One module that several modules import is counted once. */
function moduleFaults(modules: ModulesContainer, ownToken: string): string[] {
  const count = [...modules.values()].filter((module) => module.providers.has(ownToken)).length;
  if (count <= 1) return [];
  return [
    `MultiSessionModule: is configured ${count} times in this application, and the modules would share paths, tables and ` +
      'providers; call forRoot or forRootAsync once. For several kinds of users, use several session types or applications',
  ];
}
