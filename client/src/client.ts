import { afterAnswer, loginCookies, nextEpoch, retryDelay, takesLogin } from './decisions.js';
import { SessionError } from './errors.js';
import { openKeeper } from './keeper.js';
import { pauseFor, type Platform, thisPlatform } from './platform.js';
import { openRenewal, REFRESH_LIMIT } from './renewal.js';
import { openRequests } from './requests.js';
import { openSchedule } from './schedule.js';
import { browserStorage, memoryStorage, type SessionStorage } from './storage.js';
import { openTabs } from './tabs.js';
import type { ManagedSession } from './contract.js';
import type { SessionClient, SessionClientOptions } from './types.js';
import { errorOf, openWire, type Post, readAnswer, type Tokens, tokensOf } from './wire.js';

/** The time limit of a login, in milliseconds. Hashing a password takes long on a busy server. */
const LOGIN_LIMIT = 30_000;

/** How often a request is sent at most. */
const ATTEMPTS = 3;

/**
 * Creates the client for one user in this browser or app.
 * @param platform what the client uses of the browser; only tests need another one
 */
export function createSessionClient(options: SessionClientOptions, platform: Platform = thisPlatform()): SessionClient {
  const { transport, secretKey, usernameField = 'username', warnBefore = 60_000 } = options;
  const inCookies = transport === 'cookie';
  const url = options.url.replace(/\/+$/, '');
  const { href, origin } = new URL(url, platform.base);
  const origins = [origin, ...(options.origins ?? [])];
  const send: typeof globalThis.fetch = async (...request) =>
    (options.dpop ? (await import('./dpop.js')).dpopFetch(href, options.fetch) : (options.fetch ?? fetch))(...request);
  const storage = options.storage ?? (inCookies ? storageOfPage() : memoryStorage());
  // The keychains of phones accept only these characters.
  const key = `multisession.${href.replace(/[^\w.-]+/g, '_')}`;
  const listeners = new Set<() => void>();
  const idleListeners = new Set<(event: { endsAt: number }) => void>();
  let loading: Promise<unknown> | undefined;
  let telling: Promise<void> | undefined;

  const onChange = () => {
    schedule.reset();
    if (shown !== (shown = keeper.state)) listeners.forEach((listener) => listener());
  };
  const keeper = openKeeper(key, storage, platform, onChange, () => tabs.announce());
  let shown = keeper.state;
  const tabs = openTabs(key, storage, platform, LOGIN_LIMIT, () => void keeper.sync());
  const wire = openWire(url, inCookies, send, platform.now);
  /** Waits and sends again if the server is not available, and says that it soon is. */
  const post: Post = async (route, given, ...rest) => {
    const fields = given && { ...given, secret_key: inCookies ? undefined : secretKey };
    for (let attempt = 1; ; attempt++) {
      const answer = await wire(route, fields, ...rest);
      if (afterAnswer('POST', answer, attempt < ATTEMPTS) !== 'wait') return answer;
      await pauseFor(platform, answer, rest[0]);
    }
  };
  const { renew, abort } = openRenewal(inCookies, keeper, tabs, platform, post);
  const schedule = openSchedule(
    keeper,
    platform,
    warnBefore,
    renew,
    (event) => idleListeners.forEach((listener) => listener(event)),
    () => void (loading && load().then(keeper.sync).then(catchUp)),
  );
  const load = () => (loading ??= keeper.sync().then(() => void catchUp().then(keeper.setLoaded)));
  const requests = openRequests(inCookies, !!storage.shared, origins, send, keeper, platform, load, renew);

  /** Does what could not be done before: finds out if the browser has cookies, and tells the server of a logout. */
  const catchUp = async () => {
    if (inCookies && !keeper.record) await renew(null).catch(() => undefined);
    void tellServer();
  };

  const begin = (route: string, fields: Record<string, unknown>, persistent = true, headers?: Record<string, string>) =>
    tabs.exclusive(LOGIN_LIMIT, async ({ signal }) => {
      const before = (await keeper.sync())?.epoch ?? 0;
      for (let attempt = 1; ; attempt++) {
        const answer = await post(route, fields, signal, { headers });
        const tokens = answer.code ? undefined : tokensOf(answer.body, inCookies);
        if (!tokens) throw errorOf(answer);
        await keep(tokens, before, persistent);
        if (!inCookies) return;
        const list = await wire('sessions', undefined, signal, { method: 'GET' });
        const result = loginCookies(list, currentIn(list.body), tokens.sessionId);
        if (result === 'dropped') {
          await keeper.update((held) => keeper.ended(held));
          throw new SessionError('not_kept', 'Cookies are blocked');
        }
        if (result !== 'overtaken') return;
        if (attempt === ATTEMPTS) throw errorOf();
      }
    });

  const keep = async (tokens: Tokens, before: number, persistent: boolean) => {
    const arrivedAt = platform.now().wall;
    const held = await keeper.update((found) =>
      !found || takesLogin(found, before, tokens.sessionId)
        ? {
            ...tokens,
            epoch: nextEpoch(found, arrivedAt),
            arrivedAt,
            persistent,
            // In cookies, the server has ended the session that the browser had.
            revoke: inCookies ? undefined : found?.revoke,
          }
        : { ...found, revoke: joined(found.revoke, tokens.refresh) },
    );
    if (held?.sessionId) return;
    void tellServer();
    throw new SessionError('logged_out');
  };

  /** The tokens of sessions that the user has left. In cookies this is empty, and the client tells the server nevertheless. */
  const joined = (...tokens: (string | undefined)[]) =>
    tokens.filter(Boolean).join(' ') || (inCookies ? '' : undefined);

  /** Tells the server of logouts that it does not know of. */
  const tellServer = (): Promise<void> =>
    (telling ??= tabs
      .exclusive(REFRESH_LIMIT, ({ signal }) => keeper.sync().then(() => sendLogouts(signal)))
      .catch(() => undefined)
      .finally(() => (telling = undefined)));

  const sendLogouts = async (signal?: AbortSignal) => {
    const { revoke, sessionId } = keeper.record ?? {};
    // In cookies, a logout would end the session that the browser has by now.
    if (revoke === undefined || (inCookies && sessionId)) return;
    const left: string[] = [];
    for (const token of revoke.split(' ')) {
      const { status, code } = await post('logout', { refresh: token || undefined }, signal);
      if (code === 'unreachable' || status === 429 || status >= 500) left.push(token);
    }
    const next = left.length > 0 ? left.join(' ') : undefined;
    await keeper.update((held) => (held?.revoke === revoke ? { ...held, revoke: next } : undefined));
    if (left.length > 0) platform.after(retryDelay(3, 0, platform.random()), () => void tellServer());
  };

  const call = async (route: string, init?: RequestInit): Promise<unknown> => {
    const response = await requests.fetch(`${url}/${route}`, init).catch((error: unknown) => {
      throw error instanceof SessionError ? error : errorOf();
    });
    const answer = await readAnswer(response);
    if (answer.code) throw errorOf(answer);
    return answer.body;
  };

  const client: SessionClient = {
    fetch: requests.fetch,
    headersFor: requests.headersFor,
    recover: requests.recover,
    async login({ username, password, session, info, remember }) {
      await load();
      const persistent = inCookies ? remember : undefined;
      await begin('login', { [usernameField]: username, password, session, info, persistent }, remember);
    },
    async logout() {
      await load();
      abort();
      // The page may be left as soon as listeners know of the logout, and would not get its turn any more.
      const stop = platform.on('pagehide', () => void sendLogouts());
      await keeper.update((held) => keeper.ended(held, 'logout', joined(held?.revoke, held?.refresh)));
      await tellServer();
      stop();
    },
    async refresh() {
      await load();
      await renew(keeper.record);
    },
    async reauthenticate({ username, password }) {
      const fields = { [usernameField]: username, password };
      await client.refresh();
      const { record } = keeper;
      await begin('reauthenticate', fields, record?.persistent, requests.headersOf(record));
    },
    sessions: () => call('sessions') as Promise<ManagedSession[]>,
    async endSession(id) {
      await call(`sessions/${encodeURIComponent(id)}`, { method: 'DELETE' });
      await keeper.update((held) => (held?.sessionId === id ? keeper.ended(held, 'logout', held.revoke) : undefined));
    },
    async endOthers() {
      return ((await call('sessions', { method: 'DELETE' })) as { ended: number }).ended;
    },
    subscribe: (listener) => addTo(listeners, listener),
    getSnapshot: () => keeper.state,
    on: (_event, listener) => addTo(idleListeners, listener),
    close() {
      schedule.close();
      tabs.close();
    },
  };
  if (platform.isPage) void load();
  return client;
}

function addTo<One>(all: Set<One>, one: One): () => void {
  all.add(one);
  return () => all.delete(one);
}

/** Returns the id of the current session in an answer to `GET sessions`. */
function currentIn(body: unknown): string | undefined {
  return (body as ManagedSession[] | undefined)?.find?.(({ current }) => current)?.id;
}

/** The record in cookies is not secret. A page that may not use `localStorage` gets along without. */
function storageOfPage(): SessionStorage {
  try {
    if (globalThis.localStorage) return browserStorage();
  } catch {
    // The user has blocked it.
  }
  return memoryStorage();
}
