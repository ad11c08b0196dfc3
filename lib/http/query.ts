import { ValidationFailedError } from '../errors.js';
import type { Schema } from './schema.js';

/** A query as Express and Fastify parse it. If a parameter is given twice, its value is a list. */
export type Query = Readonly<Record<string, unknown>>;

/** One parameter of a query. */
export interface Parameter<Value> {
  readonly schema: Schema;
  /** Converts the text to a value. Returns undefined if the text is not valid. */
  readonly read: (text: string) => Value | undefined;
  /** The error message if the text is not valid. */
  readonly fault: string;
}

type Parameters = Readonly<Record<string, Parameter<unknown>>>;

/** The values of a query by parameter. Parameters that the query does not have are absent. */
export type ValuesOf<P extends Parameters> = {
  readonly [Name in keyof P]?: Exclude<ReturnType<P[Name]['read']>, undefined>;
};

/**
 * Reads a query. It refuses unknown parameters, because a misspelled filter would otherwise list everything.
 * @returns the values of the parameters that the query has
 * @throws ValidationFailedError that names every invalid and every unknown parameter
 */
export function readQuery<P extends Parameters>(query: Query, parameters: P): ValuesOf<P> {
  const errors: Record<string, string[]> = {};
  const values: Record<string, unknown> = {};
  for (const [name, given] of Object.entries(query)) {
    const parameter = Object.hasOwn(parameters, name) ? parameters[name] : undefined;
    if (!parameter) {
      errors[name] = [`Not known. Known parameters: ${Object.keys(parameters).join(', ')}.`];
    } else if (typeof given !== 'string') {
      errors[name] = ['Must be given once.'];
    } else {
      values[name] = parameter.read(given);
      if (values[name] === undefined) errors[name] = [parameter.fault];
    }
  }
  if (Object.keys(errors).length > 0) throw new ValidationFailedError(errors);
  return values as ValuesOf<P>;
}

/** Describes the parameters for the contract. */
export function schemasOf(parameters: Parameters): Record<string, Schema> {
  return Object.fromEntries(Object.entries(parameters).map(([name, { schema }]) => [name, schema]));
}

/** A parameter that is a text of 1 to 255 characters. */
export function shortText(
  description: string,
  example: string,
  fault = 'Must have 1 to 255 characters.',
): Parameter<string> {
  return {
    schema: { type: 'string', description, example },
    read: (text) => (text === '' || text.length > 255 || text.includes('\0') ? undefined : text),
    fault,
  };
}

/** A parameter that is a whole number from 1 to `maximum`. */
export function wholeNumber(schema: Schema & { readonly maximum: number }): Parameter<number> {
  const { maximum } = schema;
  return {
    schema: { type: 'integer', minimum: 1, ...schema },
    read: (text) => (/^\d{1,4}$/.test(text) && Number(text) >= 1 && Number(text) <= maximum ? Number(text) : undefined),
    fault: `Must be a whole number from 1 to ${maximum}.`,
  };
}
