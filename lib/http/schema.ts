import type { Type } from '@nestjs/common';

/** Describes a JSON value as plain data, with the part of JSON Schema that OpenAPI 3.0 supports. */
export interface Schema {
  readonly type?: 'string' | 'integer' | 'boolean' | 'object' | 'array';
  readonly description?: string;
  readonly format?: 'date' | 'date-time' | 'password' | 'uuid';
  readonly example?: unknown;
  readonly enum?: readonly string[];
  readonly nullable?: true;
  readonly default?: unknown;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly maxItems?: number;
  readonly items?: Schema;
  readonly oneOf?: readonly Schema[];
  readonly additionalProperties?: true | Schema;
  /** A class whose properties have `@Field()`. The value is an object of this class. */
  readonly ref?: Type<object>;
}

/** The declaration of a property by `@Field()`. */
export interface FieldDeclaration {
  readonly schema: Schema;
  /** Whether the property may be absent. */
  readonly optional: boolean;
  /** The validation groups that require the property. Default: it is always required. */
  readonly groups?: readonly string[];
}

/** The declaration of a class by `@ObjectSchema()`. */
interface ObjectDeclaration {
  /** The name under `components.schemas`. It does not depend on the class name, which a bundler may shorten. */
  readonly name: string;
  readonly description?: string;
  /** The schema of further members, or true if they can be anything. Default: there are no further members. */
  readonly additionalProperties?: true | Schema;
}

const fields = new WeakMap<object, Map<string, FieldDeclaration>>();
const objects = new WeakMap<object, ObjectDeclaration>();

/** Declares a property of a body or an answer, for the documentation. */
export function Field(schema: Schema, rules: Partial<Omit<FieldDeclaration, 'schema'>> = {}): PropertyDecorator {
  return (prototype, property) => {
    const own = fields.get(prototype) ?? new Map<string, FieldDeclaration>();
    fields.set(prototype, own.set(String(property), { schema, optional: false, ...rules }));
  };
}

/** Names the schema of a class whose properties have `@Field()`. */
export function ObjectSchema(name: string, rules: Omit<ObjectDeclaration, 'name'> = {}): ClassDecorator {
  return (dto) => void objects.set(dto, { name, ...rules });
}

/**
 * Reads the fields of a class, without those that it inherits.
 * @returns the declarations by property name, in the order of the class
 */
export function ownFieldsOf(dto: Type<object>): ReadonlyMap<string, FieldDeclaration> {
  return fields.get(dto.prototype as object) ?? new Map<string, FieldDeclaration>();
}

/**
 * Reads `@ObjectSchema()` of a class.
 * @returns the declaration, or undefined if the class itself has none
 */
export function objectSchemaOf(dto: object): ObjectDeclaration | undefined {
  return objects.get(dto);
}
