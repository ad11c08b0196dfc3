import { parseSetCookie } from 'cookie';
import { type DeviceKeys, deviceKeys, refreshProof, registrationProof } from './dbsc-proofs.js';

/** An answer, before the browser has looked at it. */
export interface RawAnswer {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
}

/** Sends a request to the server. Rejects if the network loses the request or its answer. */
export type Send = (method: string, path: string, headers: Record<string, string>, body?: string) => Promise<RawAnswer>;

export const ORIGIN = 'https://app.test';

interface Kept {
  readonly value: string;
  readonly path: string;
  /** Milliseconds since 1970. */
  readonly expiresAt: number;
}

/** What the browser keeps of a session that is bound to a key. */
interface Bound {
  readonly id: string;
  readonly keys: DeviceKeys;
  readonly refreshUrl: string;
  readonly cookie: string;
  challenge?: string;
  /** The last proof, which is sent again until a new challenge has come. */
  proof?: string;
  refreshing?: Promise<Skipped | undefined>;
}

type Skipped = 'unreachable' | 'server_error' | 'quota_exceeded';

/** Chromium renews a cookie that has less to live, and does not let the request wait for it. */
const PROACTIVE = 120_000;
const MAX_CHALLENGES = 5;

/** A finished answer for the page. */
export interface PageAnswer {
  readonly status: number;
  readonly body: any;
}

/**
 * A browser with Device Bound Session Credentials, as Chromium 156 was observed: which answers end a session, which are tried
 * again, and what is sent again after a lost answer. Without `supports`, it ignores them, as other browsers do.
 */
export class DbscBrowser {
  private cookies = new Map<string, Kept>();
  private readonly bound = new Map<string, Bound>();
  /** Registrations that the browser has not sent yet. */
  private registrations: { path: string; challenge: string }[] = [];
  /** How often it may sign before its quota is used up. */
  quota = Infinity;
  /** How many of its proofs the server has accepted. */
  proofs = 0;
  /** Every request that it has sent by itself or for a page. */
  readonly log: string[] = [];

  /** @param now the browser's clock, in milliseconds since 1970 */
  constructor(
    private readonly send: Send,
    private readonly now: () => number = Date.now,
    private readonly supports = true,
  ) {}

  /**
   * Copies the cookies, as a thief does, also those that have expired by the thief's clock. The keys stay on the device.
   * @returns the values by name
   */
  stolenBy(thief: DbscBrowser): ReadonlyMap<string, string> {
    thief.cookies = new Map(this.cookies);
    return new Map([...this.cookies].map(([name, { value }]) => [name, value]));
  }

  valueOf(name: string): string | undefined {
    return this.cookie(name)?.value;
  }

  /** Drops a cookie, as if it had expired. */
  drop(name: string): void {
    this.cookies.delete(name);
  }

  /** The names of the cookies that have not expired. */
  get names(): string[] {
    return [...this.cookies.keys()].filter((name) => this.cookie(name)).sort();
  }

  /** The ids of the bound sessions that the browser keeps. */
  get boundIds(): string[] {
    return [...this.bound.keys()];
  }

  /** Milliseconds that a cookie has left. */
  lifeOf(name: string): number {
    return (this.cookie(name)?.expiresAt ?? 0) - this.now();
  }

  get hasRegistrations(): boolean {
    return this.registrations.length > 0;
  }

  /**
   * Sends a request of a page. It waits until the bound cookie is there, and follows redirects.
   * @throws if the network lost the request, or its answer
   */
  async fetch(method: string, path: string, body?: unknown, hops = 0): Promise<PageAnswer> {
    const skipped = await this.makeReady();
    const headers = {
      origin: ORIGIN,
      'sec-fetch-site': 'same-origin',
      'x-session-transport': 'cookie',
      ...(body !== undefined && { 'content-type': 'application/json' }),
      ...(skipped && { 'secure-session-skipped': skipped }),
    };
    const answer = await this.request(method, path, headers, body === undefined ? undefined : JSON.stringify(body));
    this.offer(answer);
    const location = answer.headers.get('location');
    if (answer.status === 307 && location !== null && hops < 20)
      return this.fetch(method, new URL(location, ORIGIN + path).href.slice(ORIGIN.length), body, hops + 1);
    return { status: answer.status, body: parsed(answer.text) };
  }

  /** Sends the registrations that answers have asked for, each with a new key. Ignores faults, as Chromium does. */
  async register(): Promise<void> {
    for (const { path, challenge } of this.registrations.splice(0)) {
      const keys = deviceKeys();
      const answer = await this.own(path, { 'secure-session-response': registrationProof(keys, challenge) }).catch(
        () => undefined,
      );
      if (answer?.status !== 200) continue;
      const { session_identifier: id, refresh_url: refreshUrl, credentials } = parsed(answer.text);
      this.bound.set(id, { id, keys, refreshUrl, cookie: credentials[0].name });
      this.keepChallenge(answer);
    }
  }

  /** Renews the bound cookies that are about to expire, without a request of a page. */
  async renewEarly(): Promise<void> {
    for (const session of [...this.bound.values()]) {
      const left = this.lifeOf(session.cookie);
      if (left > 0 && left < PROACTIVE) await this.refreshOnce(session);
    }
  }

  /** Proves the keys of all sessions whose cookie is missing. Requests at the same time wait for the same proof. */
  private async makeReady(): Promise<Skipped | undefined> {
    let skipped: Skipped | undefined;
    for (const session of [...this.bound.values()])
      if (!this.cookie(session.cookie)) skipped = (await this.refreshOnce(session)) ?? skipped;
    return skipped;
  }

  private refreshOnce(session: Bound): Promise<Skipped | undefined> {
    return (session.refreshing ??= this.refresh(session).finally(() => {
      session.refreshing = undefined;
    }));
  }

  private async refresh(session: Bound): Promise<Skipped | undefined> {
    for (let attempt = 0; attempt <= MAX_CHALLENGES; attempt++) {
      const proof = this.proofOf(session);
      if (proof === 'quota_exceeded') return proof;
      const answer = await this.tryTwice(session, proof);
      if (!answer) return 'unreachable';
      if (answer.status >= 500) return 'server_error';
      const fresh = this.keepChallenge(answer) === session.id;
      if (answer.status === 403 && fresh) continue;
      const isOver = answer.status >= 400 || (answer.text !== '' && parsed(answer.text).continue === false);
      if (isOver) this.bound.delete(session.id);
      else if (proof !== undefined) this.proofs++;
      return undefined;
    }
    return 'server_error';
  }

  private proofOf(session: Bound): string | undefined {
    const { challenge } = session;
    if (challenge === undefined || session.proof !== undefined) return session.proof;
    if (this.quota === 0) return 'quota_exceeded';
    this.quota--;
    return (session.proof = refreshProof(session.keys, challenge));
  }

  private async tryTwice({ id, refreshUrl }: Bound, proof: string | undefined): Promise<RawAnswer | undefined> {
    const headers = {
      'sec-secure-session-id': id,
      ...(proof !== undefined && { 'secure-session-response': proof }),
    };
    const once = () => this.own(refreshUrl, headers).catch(() => undefined);
    return (await once()) ?? (await once());
  }

  /** Sends a request that no page has asked for. */
  private own(path: string, headers: Record<string, string>): Promise<RawAnswer> {
    return this.request('POST', path, { origin: ORIGIN, 'sec-fetch-site': 'same-origin', ...headers });
  }

  private async request(method: string, path: string, headers: Record<string, string>, body?: string) {
    const cookie = this.headerFor(path);
    const answer = await this.send(method, path, { ...headers, ...(cookie !== '' && { cookie }) }, body);
    this.log.push(`${method} ${path} ${answer.status}`);
    for (const text of answer.headers.getSetCookie()) this.keep(text);
    return answer;
  }

  private keep(text: string): void {
    const { name, value = '', path = '/', maxAge = Infinity } = parseSetCookie(text);
    if (maxAge <= 0) this.cookies.delete(name);
    else this.cookies.set(name, { value, path, expiresAt: this.now() + maxAge * 1000 });
  }

  /** @returns the id of the session that the challenge is for */
  private keepChallenge({ headers }: RawAnswer): string | undefined {
    const [, challenge, id] = /^"(.*)";id="(.*)"$/.exec(headers.get('secure-session-challenge') ?? '') ?? [];
    const session = this.bound.get(id);
    if (session) Object.assign(session, { challenge, proof: undefined });
    return session?.id;
  }

  private offer({ headers }: RawAnswer): void {
    const text = headers.get('secure-session-registration');
    const [, path, challenge] = /^\(ES256 RS256\);path="([^"]+)";challenge="([^"]+)"$/.exec(text ?? '') ?? [];
    if (this.supports && path !== undefined) this.registrations.push({ path, challenge });
  }

  private cookie(name: string): Kept | undefined {
    const kept = this.cookies.get(name);
    return kept && kept.expiresAt > this.now() ? kept : undefined;
  }

  private headerFor(path: string): string {
    return [...this.cookies]
      .filter(([name, kept]) => this.cookie(name) && contains(kept.path, path.split('?')[0]))
      .map(([name, { value }]) => `${name}=${value}`)
      .join('; ');
  }
}

function contains(path: string, url: string): boolean {
  return url === path || url.startsWith(path.endsWith('/') ? path : `${path}/`);
}

function parsed(text: string): any {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
