import type { ValueTransformer } from 'typeorm';

/** Instants are milliseconds since 1970 in a bigint: every portable date type lost milliseconds or shifted the zone on one of the databases. */
export const instant = {
  to: (value: unknown): unknown => (value instanceof Date ? value.getTime() : value),
  from: (value: unknown): unknown => (value === null || value === undefined ? value : new Date(Number(value))),
} satisfies ValueTransformer;
