import { EXAMPLES } from './examples.js';
import { Field, ObjectSchema } from './schema.js';

const SESSION_IDENTIFIER = {
  type: 'string',
  description: "The browser's name for the session: our session id",
  format: 'uuid',
  example: EXAMPLES.sessionId,
} as const;

/** The requests that wait for a new bound cookie: all to this origin. */
@ObjectSchema('DeviceSessionScope')
export class DeviceSessionScope {
  @Field({ type: 'boolean', description: 'Whether other hosts of the site are in scope', example: false })
  include_site!: boolean;
}

/** The cookie that the browser renews with a proof of its key. */
@ObjectSchema('DeviceSessionCredential')
export class DeviceSessionCredential {
  @Field({ type: 'string', description: 'Always `cookie`', example: 'cookie' })
  type!: 'cookie';

  @Field({ type: 'string', description: 'Name of the access cookie', example: '__Host-session-access' })
  name!: string;

  @Field({
    type: 'string',
    description: 'Attributes of the access cookie',
    example: 'Path=/; HttpOnly; Secure; SameSite=Lax',
  })
  attributes!: string;
}

/** The answer of `dbsc/register`: what the browser must know to renew the access cookie by itself. */
@ObjectSchema('DeviceSessionInstructions')
export class DeviceSessionInstructions {
  @Field(SESSION_IDENTIFIER)
  session_identifier!: string;

  @Field({ type: 'string', description: 'Path of `dbsc/refresh`', example: '/api/session/dbsc/refresh' })
  refresh_url!: string;

  @Field({ ref: DeviceSessionScope })
  scope!: DeviceSessionScope;

  @Field({ type: 'array', items: { ref: DeviceSessionCredential } })
  credentials!: DeviceSessionCredential[];
}

/** The answer of `dbsc/refresh` if the session is over: the browser forgets its key. Otherwise, the answer has no body. */
@ObjectSchema('DeviceSessionOver')
export class DeviceSessionOver {
  @Field(SESSION_IDENTIFIER)
  session_identifier!: string;

  @Field({ type: 'boolean', description: 'Always false', example: false })
  continue!: false;
}
