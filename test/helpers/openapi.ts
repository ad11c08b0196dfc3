/** The JSON schema of a request body or a response in an OpenAPI document. */
export function schemaOf({ content }: any): any {
  return content['application/json'].schema;
}

/** Follows a reference to a named schema. */
export function resolved(components: any, schema: any): any {
  return schema.$ref ? components.schemas[schema.$ref.split('/').pop()] : schema;
}
