import { SessionDailyCountEntity } from '../admin/statistics/session-daily-count.entity.js';
import { SigningKeyEntity } from '../keys/signing-key.entity.js';
import { KnownDeviceEntity } from '../known-devices/known-device.entity.js';
import { BlacklistEntity } from '../revocation/blacklist.entity.js';
import { SessionEntity } from '../session/session.entity.js';

/** The entities of this library. Add them to the `entities` of a DataSource that does not use `autoLoadEntities`. */
export const MULTI_SESSION_ENTITIES = [
  SessionEntity,
  BlacklistEntity,
  SigningKeyEntity,
  KnownDeviceEntity,
  SessionDailyCountEntity,
] as const;
