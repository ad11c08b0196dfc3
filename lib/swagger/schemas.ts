import type { Type } from '@nestjs/common';
import { type ApiResponseSchemaHost, ApiSchema } from '@nestjs/swagger';
import { type FieldDeclaration, objectSchemaOf, ownFieldsOf, type Schema } from '../http/schema.js';

/** A schema object of OpenAPI 3.0, or a reference to one. */
export type OpenApiSchema = ApiResponseSchemaHost['schema'];

/** How the options of the module change the schema of a body, compared with its class. */
export interface BodyRules {
  /** Returns the name of a field in the body, or undefined if the body does not have the field. */
  nameOf(field: string, declaration: FieldDeclaration): string | undefined;
  isRequired(declaration: FieldDeclaration): boolean;
}

const AS_DECLARED: BodyRules = {
  nameOf: (field) => field,
  isRequired: ({ optional }) => !optional,
};

/**
 * One class for each named schema, because `@nestjs/swagger` identifies named schemas by class. The class has the
 * schema that it was given last, so you can call `documentSessions` again with other options.
 */
const models = new Map<string, Type<object>>();

/** The named schemas that the documentation of one route refers to. */
export class NamedSchemas {
  private readonly used = new Map<string, Type<object>>();

  /** The classes for `@ApiExtraModels()`. */
  get models(): Type<object>[] {
    return [...this.used.values()];
  }

  /** Refers to the schema of a class that has `@ObjectSchema()`. */
  refTo(dto: Type<object>, rules: BodyRules = AS_DECLARED): OpenApiSchema {
    const declared = objectSchemaOf(dto);
    if (!declared) throw new Error(`${dto.name} has no @ObjectSchema()`);
    return this.refToNamed(declared.name, () => this.objectSchema(dto, rules));
  }

  /** Refers to a schema by its name. */
  refToNamed(name: string, schema: () => OpenApiSchema): OpenApiSchema {
    if (!this.used.has(name)) {
      const model = models.get(name) ?? class {};
      models.set(name, model);
      this.used.set(name, model);
      // `@nestjs/swagger` copies all members except the name into the schema.
      ApiSchema({ name, ...schema() })(model);
    }
    return { $ref: `#/components/schemas/${name}` };
  }

  /** Converts a schema of the contract. */
  convert({ ref, items, oneOf, additionalProperties, ...plain }: Schema): OpenApiSchema {
    if (ref) {
      const reference = this.refTo(ref);
      return Object.keys(plain).length === 0 ? reference : ({ allOf: [reference], ...plain } as OpenApiSchema);
    }
    return {
      ...plain,
      ...(items && { items: this.convert(items) }),
      ...(oneOf && { oneOf: oneOf.map((schema) => this.convert(schema)) }),
      ...(additionalProperties && {
        additionalProperties: additionalProperties === true || this.convert(additionalProperties),
      }),
    } as OpenApiSchema;
  }

  private objectSchema(dto: Type<object>, rules: BodyRules): OpenApiSchema {
    const properties: Record<string, OpenApiSchema> = {};
    const required: string[] = [];
    for (const [field, declaration] of ownFieldsOf(dto)) {
      const name = rules.nameOf(field, declaration);
      if (name === undefined) continue;
      properties[name] = this.convert(declaration.schema);
      if (rules.isRequired(declaration)) required.push(name);
    }
    const { description, additionalProperties } = objectSchemaOf(dto) ?? {};
    const base = Object.getPrototypeOf(dto) as Type<object>;
    return {
      ...this.convert({ type: 'object', description, additionalProperties }),
      ...(objectSchemaOf(base) && { allOf: [this.refTo(base)] }),
      properties,
      ...(required.length > 0 && { required }),
    };
  }
}
