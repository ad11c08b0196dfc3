import type { ValueTransformer } from 'typeorm';

/**
 * Stores a `Date` as milliseconds since 1970 in a bigint. Every portable date type loses milliseconds or shifts the time
 * zone on at least one of the databases.
 */
export const instant = {
  to: (value: unknown): unknown => (value instanceof Date ? value.getTime() : value),
  from: (value: unknown): unknown => (value === null || value === undefined ? value : new Date(Number(value))),
} satisfies ValueTransformer;

/** Stores a whole number in a bigint, which some drivers return as a string. */
export const wholeNumber = {
  to: (value: unknown): unknown => value,
  from: (value: unknown): unknown => (value === null || value === undefined ? value : Number(value)),
} satisfies ValueTransformer;
