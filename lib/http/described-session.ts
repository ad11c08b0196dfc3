import type { SessionSummary } from '../session/session.js';
import { type DeviceKind, describeUserAgent } from '../session/user-agent.js';
import { EXAMPLES } from './examples.js';
import { Field, ObjectSchema } from './schema.js';

/** A browser or an operating system. */
@ObjectSchema('Software')
export class Software {
  @Field({ type: 'string', description: 'Name', example: 'Firefox' })
  name!: string;

  @Field({ type: 'string', description: 'Version', nullable: true, example: '140.0' })
  version!: string | null;
}

/** A session as a page shows it to people. Times are ISO 8601 in UTC. */
@ObjectSchema('Session')
export class DescribedSession {
  @Field({ type: 'string', description: 'Session id', format: 'uuid', example: EXAMPLES.sessionId })
  id!: string;

  @Field({ type: 'string', description: 'Session type', example: 'LONG' })
  type!: string;

  /** The header `X-Device-Model` of the client. */
  @Field({ type: 'string', description: 'Device name, as the client gave it', nullable: true, example: 'Pixel 9' })
  device!: string | null;

  /** Read from the user agent, which the client can fake. */
  @Field({ ref: Software, description: 'Browser, read from the user agent', nullable: true })
  browser!: Software | null;

  /** Read from the user agent, which the client can fake. */
  @Field({ ref: Software, description: 'Operating system, read from the user agent', nullable: true })
  os!: Software | null;

  @Field({
    type: 'string',
    description: 'Kind of device, read from the user agent',
    enum: ['mobile', 'tablet', 'pc', 'tv', 'bot', 'other'] satisfies DeviceKind[],
    example: 'pc',
  })
  kind!: DeviceKind;

  /** Behind a proxy, this is the client's address only if the framework trusts the proxy. */
  @Field({ type: 'string', description: 'Last known IP address', nullable: true, example: '203.0.113.7' })
  ip_address!: string | null;

  @Field({ type: 'string', description: '`info` of the login', example: 'Firefox on Linux' })
  info!: string;

  @Field({ type: 'string', description: 'Login, in UTC', format: 'date-time', example: EXAMPLES.createdAt })
  created_at!: string;

  @Field({ type: 'string', description: 'Last refresh, in UTC', format: 'date-time', example: EXAMPLES.lastUpdate })
  last_update!: string;

  @Field({ type: 'string', description: 'Expiry, in UTC', format: 'date-time', example: EXAMPLES.expiresAt })
  expires_at!: string;

  /** Also set if a browser was updated or a phone has moved. If a refresh token was stolen, it may be the only trace. */
  @Field({
    type: 'string',
    description: 'Last refresh by another browser or from another network, in UTC',
    format: 'date-time',
    nullable: true,
    example: null,
  })
  client_changed_at!: string | null;

  /** Whether a copied refresh token is worthless without the device (option `binding`). */
  @Field({ type: 'boolean', description: 'Whether the session is bound to a key on its device', example: false })
  bound!: boolean;
}

/** Converts a session to the form that a page shows. */
export function describeSession(session: SessionSummary): DescribedSession {
  return {
    id: session.id,
    type: session.type,
    device: session.deviceName,
    ...describeUserAgent(session.userAgent),
    ip_address: session.ipAddress,
    info: session.info,
    created_at: session.createdAt.toISOString(),
    last_update: session.lastUpdate.toISOString(),
    expires_at: session.expiresAt.toISOString(),
    client_changed_at: session.clientChangedAt?.toISOString() ?? null,
    bound: session.bound,
  };
}
