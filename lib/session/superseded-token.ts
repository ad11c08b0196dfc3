import type { RefreshTokenClaims } from '../token/refresh-token.js';
import type { TokenConfig } from '../token/options.js';
import type { NotedName, SessionNoted } from './change-log.js';
import { type ClientInfo, fitClientInfo } from './client-info.js';
import type { SupersededTokenEvent } from './events.js';
import type { ReuseKind } from './policy.js';
import type { JudgedRow } from './refresh-sql.js';
import { toSession } from './session.js';
import { handedOutAt } from './session.entity.js';

/** Describes a presented token that has a successor, for the events of refreshes and renewals. */
export function supersededEvent(
  row: JudgedRow,
  { generation }: Pick<RefreshTokenClaims, 'generation'>,
  client: ClientInfo | undefined,
  config: TokenConfig,
): SupersededTokenEvent {
  return {
    session: toSession(row, config),
    presentedGeneration: generation,
    currentGeneration: row.generation,
    age: row.askedAt - handedOutAt(row),
    client: fitClientInfo(client ?? {}),
  };
}

/** Returns what the change log is told about such a token. The client is the one that presented it. */
export function supersededNote(name: NotedName, event: SupersededTokenEvent & { reuse?: ReuseKind }): SessionNoted {
  const { session, client, presentedGeneration, currentGeneration, age, reuse } = event;
  const { id, type, userAgent, ipAddress, deviceName } = session;
  const presenting = fitClientInfo(client);
  const row = { id, userId: String(session.userId), type, ...presenting };
  const other = { user_agent: userAgent, ip_address: ipAddress, device_name: deviceName };
  const generations = { presented_generation: presentedGeneration, current_generation: currentGeneration };
  const details = { ...generations, age_ms: age, other_client: other, ...(reuse && { reuse }) };
  return { kind: 'noted', name, row, details };
}

/** Describes a reuse for the log: who presented the old token, and who got the current one. It contains no token. */
export function describeReuse(event: SupersededTokenEvent & { readonly reuse: ReuseKind }): string {
  const { session, client, presentedGeneration, currentGeneration, age, reuse } = event;
  return (
    `session ${session.id} of user ${JSON.stringify(session.userId)} was ended, because an old refresh token was used ` +
    `(${reuse}: generation ${presentedGeneration}, the current one is ${currentGeneration}); it was presented by ` +
    `${describeClient(client)}, while the current one was issued to ${describeClient(session)} ${Math.round(age / 1000)} s ago`
  );
}

/** Describes a token that follows the current one of the row, for the log. */
export function describeAdoption(row: LostRow, token: Pick<RefreshTokenClaims, 'generation'>): string {
  return `${describeLoss(row, token)}; the token was adopted, because it states that it follows the one in the database`;
}

/** Describes a token that does not follow the current one of the row, for the log. */
export function describeAhead(row: LostRow, token: Pick<RefreshTokenClaims, 'generation'>): string {
  return `${describeLoss(row, token)}; the token was refused, and the session goes on: the user has to log in again`;
}

type LostRow = Pick<JudgedRow, 'id' | 'userId' | 'generation'>;

function describeLoss({ id, userId, generation }: LostRow, token: Pick<RefreshTokenClaims, 'generation'>): string {
  return (
    `the database has lost commits, probably in a fail-over: a refresh token of session ${id} of user ` +
    `${JSON.stringify(userId)} is of generation ${token.generation}, and the database knows only ${generation}`
  );
}

/** Clients choose their user agent, so it is quoted. */
function describeClient({ ipAddress, userAgent }: ClientInfo): string {
  return `${ipAddress ?? 'an unknown address'} (${userAgent ? JSON.stringify(userAgent) : 'no user agent'})`;
}
