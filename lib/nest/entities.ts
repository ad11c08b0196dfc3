import { guardSynchronize } from './synchronize-guard.js';
import { SessionAdminActionEntity } from '../session/session-admin-action.entity.js';
import { SessionDailyCountEntity } from '../admin/statistics/session-daily-count.entity.js';
import { SigningKeyEntity } from '../keys/signing-key.entity.js';
import { KnownDeviceEntity } from '../known-devices/known-device.entity.js';
import { BlacklistEntity } from '../revocation/blacklist.entity.js';
import { SessionEpochEntity } from '../database/epoch.entity.js';
import { SessionDeliveryEntity } from '../outbox/session-delivery.entity.js';
import { SessionEventEntity } from '../outbox/session-event.entity.js';
import { SessionStreamEntity } from '../outbox/session-stream.entity.js';
import { SessionStreamSubjectEntity } from '../outbox/session-stream-subject.entity.js';
import { SessionAliasEntity } from '../session/alias.entity.js';
import { SessionEntity } from '../session/session.entity.js';
import { SessionProviderEntity } from '../session/session-provider.entity.js';
import { SessionSignalEntity } from '../session/session-signal.entity.js';
import { SessionJobEntity } from '../database/job.entity.js';
import { SessionUserEntity } from '../session/session-user.entity.js';

/** The entities of this library. Add them to the `entities` of a DataSource that does not use `autoLoadEntities`. */
export const MULTI_SESSION_ENTITIES = guardSynchronize([
  SessionEntity,
  BlacklistEntity,
  SigningKeyEntity,
  KnownDeviceEntity,
  SessionDailyCountEntity,
  SessionUserEntity,
  SessionJobEntity,
  SessionEpochEntity,
  SessionAliasEntity,
  SessionEventEntity,
  SessionDeliveryEntity,
  SessionProviderEntity,
  SessionSignalEntity,
  SessionStreamEntity,
  SessionStreamSubjectEntity,
  SessionAdminActionEntity,
] as const);
