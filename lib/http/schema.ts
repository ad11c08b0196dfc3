import type { Type } from '@nestjs/common';

/** Describes a JSON value as plain data: the part of JSON Schema that OpenAPI 3.0 shares. */
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
  /** A class with `@Field()`s. The value is one of its objects. */
  readonly ref?: Type<object>;
}

/** What `@Field()` declares of a property. */
export interface FieldDeclaration {
  readonly schema: Schema;
  /** Whether the property may be absent. */
  readonly optional: boolean;
  /** The validation groups that require the property. Default: it is always required. */
  readonly groups?: readonly string[];
}

/** What `@ObjectSchema()` declares of a class. */
interface ObjectDeclaration {
  /** The name under `components.schemas`. It does not depend on the class name, which a bundler may shorten. */
  readonly name: string;
  readonly description?: string;
  /** Whether objects have further members, and which. Default: they have none. */
  readonly additionalProperties?: true | Schema;
}

const fields = new WeakMap<object, Map<string, FieldDeclaration>>();
const objects = new WeakMap<object, ObjectDeclaration>();

/** Declares what a property of a body or an answer is, for documentation. */
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
 * @returns undefined if the class has none of its own
 */
export function objectSchemaOf(dto: object): ObjectDeclaration | undefined {
  return objects.get(dto);
}
