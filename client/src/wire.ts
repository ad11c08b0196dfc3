import type { CookieAnswer, RefreshAnswer } from './contract.js';
import { type Answered, type Instant, isTooLate, type SessionRecord } from './decisions.js';
import { SessionError } from './errors.js';

/** An answer of the session routes, or that there was none. */
export interface Answer extends Answered {
  readonly body?: unknown;
}

/** What a login or a refresh brought. */
export type Tokens = Omit<SessionRecord, 'epoch' | 'arrivedAt'> & { readonly sessionId: string };

/** How a request to the session routes is sent. */
export interface Sending {
  /** Default: POST. */
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>> | undefined;
  /** An answer that takes longer counts as lost, in milliseconds. Default: none does. */
  readonly limit?: number;
}

/** Sends a request to the session routes. Never rejects. */
export type Post = (
  route: string,
  fields: Readonly<Record<string, unknown>> | undefined,
  signal?: AbortSignal | null,
  sending?: Sending,
) => Promise<Answer>;

const UNREACHABLE: Answer = { status: 0, code: 'unreachable' };

/** Makes a function that sends requests to the session routes. */
export function openWire(url: string, inCookies: boolean, send: typeof globalThis.fetch, now: () => Instant): Post {
  return async (route, fields, signal, { method = 'POST', headers, limit = Infinity } = {}) => {
    const since = now();
    try {
      const response = await send(`${url}/${route}`, {
        method,
        headers: {
          'X-Session-Transport': inCookies ? 'cookie' : 'body',
          'Content-Type': 'application/json',
          ...headers,
        },
        body: JSON.stringify(fields),
        // A page may be left as soon as the session has ended.
        keepalive: route === 'logout',
        credentials: inCookies ? 'include' : 'omit',
        // A captive portal must not get tokens and passwords. A refresh in cookies contains neither, and the server redirects it if
        // the browser is to prove its key before.
        redirect: inCookies && route === 'refresh' ? 'follow' : 'error',
        signal: signal ?? null,
      });
      const answer = await readAnswer(response);
      return isTooLate(since, now(), limit) ? UNREACHABLE : answer;
    } catch {
      return UNREACHABLE;
    }
  };
}

/** Reads an answer. Anything but JSON is not from the server: a captive portal, a proxy, a login page. */
export async function readAnswer(response: Response): Promise<Answer> {
  const { status, ok, headers } = response;
  const body = (await response.json().catch(() => undefined)) as { code?: string } | undefined;
  const code = ok ? undefined : (body?.code ?? 'refused');
  return {
    status,
    body,
    code: typeof body === 'object' || status === 204 ? code : 'unreachable',
    // A date would need a clock that is right.
    retryAfter: Number(headers.get('Retry-After')) || undefined,
  };
}

/** Returns the error that says what an answer without success says. Default: there was no answer. */
export function errorOf({ status, code = 'unreachable', body, retryAfter }: Answer = UNREACHABLE): SessionError {
  const { message = 'The server is unreachable', errors } = (body ?? {}) as Partial<SessionError>;
  return new SessionError(code, message, status, retryAfter, errors);
}

/**
 * Reads the tokens of an answer.
 * @param sent the refresh token that was sent, which stays valid if the answer has none
 * @returns undefined if the answer is not one of the session routes
 */
export function tokensOf(body: unknown, inCookies: boolean, sent?: string): Tokens | undefined {
  try {
    const { session_id: sid, session_type, expires_in, session_expires_in } = body as CookieAnswer;
    const { access, refresh = sent } = body as RefreshAnswer;
    // Answers in cookies say the same without a token.
    const now = inCookies ? { sid, session_type, iat: 0, exp: expires_in } : claimsOf(access);
    const later = inCookies ? { sid, gen: 0, exp: session_expires_in } : claimsOf(refresh);
    if (!now.sid || now.sid !== later.sid) return undefined;
    return {
      sessionId: now.sid,
      type: now.session_type,
      generation: later.gen,
      issuedAt: now.iat,
      access,
      refresh,
      accessLife: (now.exp - now.iat) * 1000,
      sessionLife: (later.exp - now.iat) * 1000,
    };
  } catch {
    return undefined;
  }
}

interface Claims {
  readonly sid: string;
  readonly session_type: string;
  readonly gen: number;
  readonly iat: number;
  readonly exp: number;
}

/**
 * Reads the claims of a token. The client cannot verify them, and nothing depends on that: the server does.
 * @throws if it is not a token
 */
function claimsOf(token: string | undefined): Claims {
  return JSON.parse(atob((token as string).split('.')[1].replace(/-/g, '+').replace(/_/g, '/'))) as Claims;
}
