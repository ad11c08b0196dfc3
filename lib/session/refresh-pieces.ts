import type { Dialect } from '../database/dialect.js';
import { type PolicyValues, UNLIMITED } from './policy.js';

/* The parts from which the statements of a refresh are made: see `refresh-sql.ts`. */

/** What a statement does about the client. `noticed`: if another client refreshes, it only records the time. */
export type ClientUse = 'ignored' | 'noticed' | 'recorded';

/** The conditions and assignments of a refresh under one policy. */
export interface RefreshPieces extends Pick<Dialect, 'least'> {
  /** The database's time at the start of the statement. */
  readonly now: string;
  /**
   * Whether the presented token is current, its session is live, the token travelled in the session's transport, and the
   * session's binding is met: see `demandOf`.
   */
  readonly isCurrent: string;
  /** Whether the policy begins a new generation now. */
  readonly mayRotate: string;
  /** An expiry in whole seconds, the full lifetime from now, but not beyond the bound and not earlier than before. */
  readonly extended: string;
  /** Assigns what every refresh records. */
  readonly setUse: string;
  /** Assigns the columns of a new generation. `type` takes the spelling of the options. */
  readonly setGeneration: string;
}

/**
 * @param assumedSeconds the lifetime of access tokens for a row that does not record one
 * @throws TypeError if a number of the policy is not a whole number
 */
export function piecesOf(dialect: Dialect, policy: PolicyValues, assumedSeconds: number): RefreshPieces {
  const { statementTime: now, least, greatest } = dialect;
  const { lifetime, absoluteLifetime, extendBelow, rotationPause, accessSeconds, bindBefore } = policy;
  assertWhole(
    lifetime,
    absoluteLifetime,
    extendBelow,
    rotationPause,
    accessSeconds,
    policy.touchInterval,
    bindBefore,
    assumedSeconds,
  );
  const isBounded = absoluteLifetime < UNLIMITED;

  // The same conditions as `SessionPolicyService.isActive`, with few expressions: the server builds each one every time.
  const ends = ['expires_at', ...(isBounded ? [`created_at + ${absoluteLifetime}`] : [])];
  const isRecorded = policy.showsUse === 1;
  if (isRecorded) ends.push(`${greatest('last_update', 'rotated_at', 'created_at')} + ${lifetime}`);
  const isUseRecent = `(last_update > ${now} - ${lifetime} OR last_update <= ${greatest('rotated_at', 'created_at')})`;
  const isLive = `${ends.length > 1 ? least(...ends) : ends[0]} > ${now} ${isRecorded ? '' : `AND ${isUseRecent}`}`;

  const boundOfRow = `COALESCE(absolute_expires_at, ${UNLIMITED})`;
  const bound = isBounded ? least(boundOfRow, wholeSecond(`created_at + ${absoluteLifetime}`)) : boundOfRow;
  const extended = greatest('expires_at', least(wholeSecond(`${now} + ${lifetime}`), bound));
  const isExtensionDue = `(expires_at - ${now} < ${extendBelow} AND expires_at < ${bound})`;
  const mayBeUnbound =
    bindBefore < UNLIMITED ? `AND (pending_binding = :binding OR created_at > ${now} - ${bindBefore})` : '';
  const setExpiry =
    extendBelow > 0 ? `, expires_at = CASE WHEN ${isExtensionDue} THEN ${extended} ELSE expires_at END` : '';

  // The statement that grants an access token raises its recorded lifetime, so an ending afterwards always finds it: see
  // `entryLife`. A transport of null is not known, in the row until the first refresh that knows it.
  const setUse = `
    access_lifetime = ${greatest(`COALESCE(access_lifetime, ${assumedSeconds})`, String(accessSeconds))},
    transport = COALESCE(transport, :transport)`;

  return {
    now,
    least,
    isCurrent: `
      id = :id AND type = :type AND refresh_jti = :jti AND generation = :generation AND ${isLive}
      AND (transport = :transport) IS NOT FALSE
      AND (binding = :binding OR binding IS NULL ${mayBeUnbound})`,
    mayRotate: `rotated_at <= ${now} - ${rotationPause} ${policy.onlyExtends ? `AND ${isExtensionDue}` : ''}`,
    extended,
    setUse,
    setGeneration: `
      ${setUse} ${setExpiry} ${policy.setsLastUpdate ? `, last_update = ${now}` : ''}, rotated_at = ${now},
      type = :currentType, generation = :generation + 1, refresh_jti = :nextJti, refresh_kid = :nextKid`,
  };
}

/**
 * Assigns the columns of the client, with a comma at the end. `client_changed_at` comes first, because it reads the others:
 * MySQL would read their new values.
 */
export function setClient(client: ClientUse, now: string): string {
  if (client === 'ignored') return '';
  const noticed = `client_changed_at = CASE WHEN ${CLIENT_CHANGED} THEN ${now} ELSE client_changed_at END,`;
  if (client === 'noticed') return noticed;
  return `${noticed} user_agent = :userAgent, ip_address = :ipAddress, device_name = COALESCE(:deviceName, device_name),`;
}

/** Whether another client refreshes than the one in the row. The same comparison as `isAnotherClient`. */
const CLIENT_CHANGED = `
  user_agent <> COALESCE(:userAgent, '') OR (ip_address NOT LIKE :network AND ip_address NOT LIKE :compressedNetwork)`;

const wholeSecond = (time: string) => `((${time}) - (${time}) % 1000)`;

/** The numbers become part of the text, so they must be nothing but digits. */
function assertWhole(...numbers: number[]): void {
  for (const number of numbers)
    if (!Number.isSafeInteger(number) || number < 0) throw new TypeError(`${number} is not a whole number`);
}
