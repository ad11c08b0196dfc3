/** Generates TypeScript types from the schemas of an OpenAPI 3.0 document, as generators of clients do. */

interface SchemaObject {
  $ref?: string;
  type?: string;
  enum?: unknown[];
  nullable?: boolean;
  items?: SchemaObject;
  properties?: Record<string, SchemaObject>;
  required?: string[];
  additionalProperties?: boolean | SchemaObject;
  allOf?: SchemaObject[];
  oneOf?: SchemaObject[];
}

interface OperationObject {
  operationId?: string;
  requestBody?: { content: Record<string, { schema: SchemaObject }> };
  responses: Record<string, { content?: Record<string, { schema: SchemaObject }> }>;
}

interface OpenApiDocument {
  paths: Record<string, object>;
  components?: { schemas?: Record<string, object> };
}

/** Writes a module with a type for each named schema, and an interface `Operations` with the bodies of each operation. */
export function typesOf({ paths, components }: OpenApiDocument): string {
  const schemas = Object.entries((components?.schemas ?? {}) as Record<string, SchemaObject>);
  const operations = Object.values(paths).flatMap((path) => Object.values(path) as OperationObject[]);
  return [
    ...schemas.map(([name, schema]) => `export type ${name} = ${typeOf(schema)};`),
    'export interface Operations {',
    ...operations.map((operation) => `${operation.operationId}: ${operationType(operation)};`),
    '}',
  ].join('\n');
}

function operationType({ requestBody, responses }: OperationObject): string {
  const bodyOf = (content?: Record<string, { schema: SchemaObject }>) =>
    content ? typeOf(content['application/json'].schema) : 'undefined';
  const answers = Object.entries(responses).map(([status, { content }]) => `${status}: ${bodyOf(content)}`);
  return `{ body: ${bodyOf(requestBody?.content)}; answers: { ${answers.join('; ')} } }`;
}

function typeOf(schema: SchemaObject): string {
  const parts = [...(schema.allOf ?? []).map(typeOf), ...ownTypes(schema)];
  const type = parts.length > 0 ? parts.join(' & ') : 'unknown';
  return schema.nullable ? `(${type}) | null` : type;
}

function ownTypes(schema: SchemaObject): string[] {
  if (schema.$ref) return [schema.$ref.split('/').at(-1) as string];
  if (schema.oneOf) return [`(${schema.oneOf.map(typeOf).join(' | ')})`];
  if (schema.enum) return [`(${schema.enum.map((value) => JSON.stringify(value)).join(' | ')})`];
  switch (schema.type) {
    case undefined:
      return [];
    case 'integer':
      return ['number'];
    case 'array':
      return [`(${typeOf(schema.items ?? {})})[]`];
    case 'object':
      return objectTypes(schema);
    default:
      return [schema.type];
  }
}

function objectTypes({ properties = {}, required = [], additionalProperties }: SchemaObject): string[] {
  const members = Object.entries(properties).map(
    ([name, schema]) => `${JSON.stringify(name)}${required.includes(name) ? '' : '?'}: ${typeOf(schema)}`,
  );
  const further = additionalProperties === true ? 'unknown' : additionalProperties && typeOf(additionalProperties);
  return [`{ ${members.join('; ')} }`, ...(further ? [`{ [name: string]: ${further} }`] : [])];
}
