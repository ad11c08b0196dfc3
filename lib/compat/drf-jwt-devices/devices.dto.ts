import { EXAMPLES } from '../../http/examples.js';
import { Field, ObjectSchema } from '../../http/schema.js';

const DEVICE_ID = { type: 'string', description: 'Device id', format: 'uuid', example: EXAMPLES.sessionId } as const;
const ACCESS_TOKEN = { type: 'string', description: 'Access token', example: EXAMPLES.accessToken } as const;

/** The answer of a login to a permanent type if the tokens travel in the body. */
@ObjectSchema('DeviceLoginAnswer')
export class DeviceLoginAnswer {
  @Field(ACCESS_TOKEN)
  token!: string;

  @Field({ type: 'string', description: 'Permanent token', example: EXAMPLES.refreshToken })
  permanent_token!: string;

  @Field(DEVICE_ID)
  device_id!: string;
}

/** The answer of `device-refresh-token`. */
@ObjectSchema('DeviceTokenAnswer')
export class DeviceTokenAnswer {
  @Field(ACCESS_TOKEN)
  token!: string;

  /** Only if the request had a permanent token of drf-jwt-devices. Clients may store this one in its place. */
  @Field(
    { type: 'string', description: 'Permanent token that replaces an old one', example: EXAMPLES.refreshToken },
    { optional: true },
  )
  permanent_token?: string;
}

/** One device in the answer of `GET devices`. The names are those of drf-jwt-devices. Times are ISO 8601 in UTC. */
@ObjectSchema('Device')
export class DeviceAnswer {
  /** A number if the device was imported from drf-jwt-devices, so that its client finds itself. */
  @Field({
    description: 'Device id',
    oneOf: [DEVICE_ID, { type: 'integer', description: 'Device id of an imported device', example: 7 }],
    example: EXAMPLES.sessionId,
  })
  id!: string | number;

  @Field({ type: 'string', description: 'Login, in UTC', format: 'date-time', example: EXAMPLES.createdAt })
  created!: string;

  /** The header `X-Device-Model`. If the client does not send it, the name is read from the user agent. */
  @Field({
    type: 'string',
    description: 'Device name, or browser and operating system if the client gave none',
    example: 'Firefox on Linux',
  })
  name!: string;

  @Field({ type: 'string', description: 'User agent', example: EXAMPLES.userAgent })
  details!: string;

  /** May lag by up to the policy's `touchInterval`. */
  @Field({ type: 'string', description: 'Last refresh, in UTC', format: 'date-time', example: EXAMPLES.lastUpdate })
  last_request_datetime!: string;
}
