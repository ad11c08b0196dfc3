import { Logger } from '@nestjs/common';
import type { Clock } from '../database/clock.js';
import { KeyList } from '../http/key-list.js';
import type { Users } from '../session/authenticator.js';
import type { SessionEndings } from '../session/endings.js';
import { ALL_TYPES } from '../session/policies.js';
import { sidKeyOf, signalIdOf, subjectKeyOf, type SubjectIdentifier } from '../session/provider-login.js';
import type { ProviderSessions } from '../session/provider-sessions.js';
import type { SessionStore } from '../session/store.js';
import { readUserId } from '../token/access-token.js';
import { bearerTokenIn } from '../token/bearer-tokens.js';
import type { TokenConfig, UserId } from '../token/options.js';
import { randomId } from '../token/random-id.js';
import { LOGOUT_TYPES, MAX_LOGOUT_AGE, readLogout } from './logout-token.js';
import type { IdentityProviderConfig } from './options.js';
import { ProviderKeys } from './provider-keys.js';
import { MAX_EVENT_AGE, readSecurityEvent, SECURITY_EVENT_TYPES } from './security-event.js';
import { SignalRefusedError } from './signal-error.js';
import { isObject, issuerOf, verifySignal } from './signed-signal.js';
import { readSubjectIdentifier, type SignalSubject } from './subject.js';

const REASON = 'identity-provider';

/** How long a signal is remembered after it is too old to be accepted, in milliseconds. Longer than any login takes. */
const MARGIN = 3_600_000;

interface Provider extends IdentityProviderConfig {
  readonly keys?: ProviderKeys;
  /** The values of the header `Authorization` that come with its security events. Empty: any value. */
  readonly authorization: KeyList;
  /** The tokens of its requests to end everything of a user. */
  readonly tokens: KeyList;
}

type Way = 'backChannelLogout' | 'securityEvents';

/**
 * Ends sessions because an identity provider says so: logout tokens, security events, and requests to end everything of a user.
 *
 * Invariant: a signal is recorded before its sessions are looked up, and marked as handled after they have ended. If the process
 * fails in between, the provider is answered with an error and sends the signal again.
 */
export class SignalReceiver {
  private readonly logger = new Logger('MultiSession');
  private readonly providers: ReadonlyMap<string, Provider>;
  /** The refusals that were logged. Whoever sends nonsense must not fill the log. */
  private readonly logged = new Set<string>();

  constructor(
    configs: readonly IdentityProviderConfig[],
    private readonly logins: ProviderSessions,
    private readonly endings: SessionEndings,
    private readonly store: SessionStore,
    private readonly users: Users,
    private readonly clock: Clock,
    private readonly tokens: TokenConfig,
  ) {
    this.providers = new Map(
      configs.map((config) => [
        config.issuer,
        {
          ...config,
          ...(config.jwksUri && { keys: new ProviderKeys(config.jwksUri, config.algorithm) }),
          authorization: new KeyList(config.securityEvents?.authorization ?? []),
          tokens: new KeyList(config.globalTokenRevocation?.tokens ?? []),
        },
      ]),
    );
  }

  /**
   * Ends the sessions that a logout token names.
   * @returns how many sessions ended
   * @throws SignalRefusedError if the token is not valid, or was used before
   * @throws UnavailableError if the keys of the provider or the database cannot be reached
   */
  logout(token: unknown): Promise<number> {
    return this.logging('backChannelLogout', async () => {
      const { provider, signal } = await this.verified(token, 'backChannelLogout', LOGOUT_TYPES, MAX_LOGOUT_AGE);
      const { subject, sid } = readLogout(signal);
      const { issuer } = provider;
      const key = sid === undefined ? subjectKeyOf(issuer, subject as string) : sidKeyOf(issuer, sid);
      const id = signalIdOf(issuer, 'logout', signal.id);
      if (!(await this.logins.receive(id, key, MAX_LOGOUT_AGE + MARGIN)))
        throw new SignalRefusedError('invalid_request', 'The token was used before');
      const ended = await this.endLinked(key);
      await this.logins.finish(id);
      return ended;
    });
  }

  /**
   * Ends the sessions that a security event names. An event that was received before does nothing.
   * @param authorization the header of the request
   * @param request the framework's request, for the application's `findBySubject`
   * @returns how many sessions ended
   * @throws SignalRefusedError if the event is not valid
   * @throws UnavailableError if the keys of the provider or the database cannot be reached
   */
  securityEvent(token: unknown, authorization: string | undefined, request?: unknown): Promise<number> {
    return this.logging('securityEvents', async () => {
      const expected = this.providerOf(issuerOf(token), 'securityEvents').authorization;
      if (expected.size > 0 && !expected.includes(authorization ?? ''))
        throw new SignalRefusedError('authentication_failed', 'The header Authorization is not the expected one');
      const { provider, signal } = await this.verified(token, 'securityEvents', SECURITY_EVENT_TYPES, MAX_EVENT_AGE);
      const event = readSecurityEvent(signal);
      if (!event) return 0;
      const id = signalIdOf(provider.issuer, 'event', signal.id);
      if (!(await this.logins.receive(id, keyOf(provider, event.subject), MAX_EVENT_AGE + MARGIN))) return 0;
      const ended = await this.endSubject(provider, event.subject, event.mayBeSession, request);
      await this.logins.finish(id);
      return ended ?? 0;
    });
  }

  /**
   * Ends all sessions of a user (Global Token Revocation).
   * @param authorization the header of the request
   * @param body the parsed body
   * @param request the framework's request, for the application's `findBySubject`
   * @returns how many sessions ended; undefined if the user is unknown
   * @throws SignalRefusedError if the caller is not a provider that may do this, or the body is malformed
   * @throws UnavailableError if the database cannot be reached
   */
  revokeUser(authorization: string | undefined, body: unknown, request?: unknown): Promise<number | undefined> {
    return this.logging('globalTokenRevocation', async () => {
      const token = bearerTokenIn(authorization);
      const all = [...this.providers.values()];
      // Each provider is compared, so that the time does not tell which one matched.
      const [provider] = all.filter(({ tokens }) => tokens.includes(token));
      if (!provider) throw new SignalRefusedError('authentication_failed', 'The bearer token is missing or not valid');
      const user = readSubjectIdentifier(isObject(body) ? body.sub_id : undefined);
      if (!user)
        throw new SignalRefusedError('invalid_request', 'The body must have the member sub_id in a known format');
      const id = signalIdOf(provider.issuer, 'revocation', randomId());
      await this.logins.receive(id, keyOf(provider, { user }), MARGIN);
      return this.endSubject(provider, { user }, false, request);
    });
  }

  private async verified(token: unknown, way: Way, types: readonly string[], maxAge: number) {
    const provider = this.providerOf(issuerOf(token), way);
    const { issuer, keys } = provider;
    const { audience } = provider[way] as { audience: readonly string[] };
    const expected = { types, issuer, audience, maxAge };
    const signal = await verifySignal(token as string, keys as ProviderKeys, expected, this.clock.now());
    return { provider, signal };
  }

  private providerOf(issuer: string, way: Way): Provider {
    const provider = this.providers.get(issuer);
    if (provider?.[way]) return provider;
    throw new SignalRefusedError('invalid_issuer', 'No signals of this kind are accepted from this issuer');
  }

  /**
   * Ends the sessions of a subject.
   * @param mayBeSession whether a subject that is no user may be a session of the provider
   * @returns how many ended; undefined if the subject is not known
   */
  private async endSubject(
    provider: Provider,
    { user, sid }: SignalSubject,
    mayBeSession: boolean,
    request: unknown,
  ): Promise<number | undefined> {
    if (sid !== undefined) return this.endLinked(sidKeyOf(provider.issuer, sid));
    if (!user) return undefined;
    if (mayBeSession && user.format === 'opaque') {
      const ended = await this.endLinked(sidKeyOf(provider.issuer, user.id));
      if (ended > 0) return ended;
    }
    const found = await this.usersOf(provider, user, request);
    let ended = 0;
    for (const userId of found) ended += await this.endings.endAll(userId, { type: ALL_TYPES, reason: REASON });
    return found.length > 0 ? ended : undefined;
  }

  /** Asks the application, and looks for sessions whose login took place at the provider. */
  private async usersOf(provider: Provider, user: SubjectIdentifier, request: unknown): Promise<UserId[]> {
    const found = new Map<string, UserId>();
    const directory = await this.users(request);
    const userId = await directory?.findBySubject?.(user, provider.issuer, request);
    if (userId !== null && userId !== undefined) found.set(String(userId), userId);
    if (user.format !== 'iss_sub' || user.iss !== provider.issuer) return [...found.values()];
    for (const { sessionId } of await this.logins.sessionsOf(subjectKeyOf(user.iss, user.sub))) {
      const row = await this.store.find(sessionId);
      const linked = row && readUserId(this.tokens, row.userId);
      if (linked !== null && linked !== undefined) found.set(String(linked), linked);
    }
    return [...found.values()];
  }

  /** Ends the sessions whose login took place at the provider under this key. */
  private async endLinked(key: string): Promise<number> {
    let ended = 0;
    for (const { sessionId } of await this.logins.sessionsOf(key)) {
      const row = await this.store.find(sessionId);
      if (row && (await this.endings.end(row, REASON))) ended++;
    }
    return ended;
  }

  /** Logs the first refusal of each kind. */
  private async logging<T>(way: keyof IdentityProviderConfig, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof SignalRefusedError)) throw error;
      const kind = `${way}: ${error.message}`;
      if (!this.logged.has(kind))
        this.logger.warn(`identityProviders: refused a request for ${kind}. Further ones are not logged`);
      this.logged.add(kind);
      throw error;
    }
  }
}

/** Returns the key of the logins that a subject ends, if logins have one. */
function keyOf({ issuer }: Provider, { user, sid }: SignalSubject): string | null {
  if (sid !== undefined) return sidKeyOf(issuer, sid);
  if (user?.format === 'iss_sub' && user.iss === issuer) return subjectKeyOf(issuer, user.sub);
  return user?.format === 'opaque' ? sidKeyOf(issuer, user.id) : null;
}
