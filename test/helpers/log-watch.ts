import { KeyObject } from 'node:crypto';

/** Shorter ones are words of the tests, such as `wrong`, and stand in many a text. */
const SHORTEST_SECRET = 8;
/** A token is known by its form, and so is a `jti`, wherever they come from. */
const TOKEN = /eyJ[\w-]+\.eyJ[\w-]+(\.[\w-]*)?/g;
const JTI = /\b[0-9a-f]{32}\b/g;
/** What these fields and headers hold is a secret. */
const SECRET_FIELDS: Record<string, string> = {
  password: 'password',
  secret_key: 'secret key',
  'x-secret-key': 'secret key',
};

/** Of the options in `jwt`, those that hold a key, or options with keys in them. */
const KEY_OPTIONS = new Set(['keys', 'managed', 'secret', 'privateKey', 'encryptionKey']);

/** One request with its answer. */
export interface Exchange {
  readonly method: string;
  readonly url: string;
  readonly headers: Iterable<[string, string]>;
  readonly body: string;
  readonly status: number;
  readonly location: string | null;
  readonly answer: string;
}

/** Options of the module, as far as they hold secrets. */
interface SecretOptions {
  readonly jwt?: unknown;
  readonly secretKey?: unknown;
}

/** Remembers the secrets that a suite uses and all that is logged, and tells where the one stands in the other. */
export class LogWatch {
  /** Passwords and keys, each with its kind. */
  private readonly secrets = new Map<string, string>();
  private readonly texts: string[] = [];
  private readonly logs: (() => string)[] = [];

  /** A secret of the suite, for example `'password'`. */
  secret(kind: string, text: unknown): void {
    if (typeof text === 'string' && text.length >= SHORTEST_SECRET) this.secrets.set(text, kind);
  }

  /** The keys in the options of an application. */
  options({ jwt, secretKey }: SecretOptions): void {
    for (const key of [secretKey].flat()) this.secret('secret key', key);
    for (const text of keysIn(jwt)) this.secret('signing key', text);
  }

  /** Something that was logged, or that nobody may find a secret in. */
  text(place: string, text: string): void {
    for (const line of text.split('\n')) this.texts.push(`${place}: ${line}`);
  }

  /** A log that still grows: it is read when the suite ends. */
  log(place: string, read: () => string): void {
    this.logs.push(() => read().replaceAll(/^/gm, `${place}: `));
  }

  /** Takes the secrets out of a request. No URL may hold one, nor the body of an error. */
  exchange({ method, url, headers, body, status, location, answer }: Exchange): void {
    for (const [name, value] of [...headers, ...fieldsOf(body)]) {
      if (Object.hasOwn(SECRET_FIELDS, name)) this.secret(SECRET_FIELDS[name], value);
    }
    this.text('URL', `${method} ${url}`);
    if (location) this.text('URL', location);
    if (status >= 400) this.text(`error body, ${method} ${new URL(url).pathname}`, answer);
  }

  /** All that was recorded, each line with its place. */
  lines(): string[] {
    return [...this.texts, ...this.logs.flatMap((read) => read().split('\n'))];
  }

  /** The lines that hold a secret, with the secret's kind in its stead, none twice. */
  leaks(): string[] {
    const spelled = this.spelled();
    const leaks = this.lines().flatMap((line) => {
      const mask = masked(line, spelled);
      return mask === line ? [] : [mask];
    });
    return [...new Set(leaks)];
  }

  /** Passwords and keys as they are, and as JSON and a URL would have them. */
  private spelled(): [string, string][] {
    return [...this.secrets].flatMap(([secret, kind]) => {
      const spellings = [secret, JSON.stringify(secret).slice(1, -1), encodeURIComponent(secret.toWellFormed())];
      return [...new Set(spellings)].map((spelling): [string, string] => [spelling, kind]);
    });
  }
}

/** Of this test file: what watches, and what is watched, meet here. */
export const watch = new LogWatch();

/** The keys in `jwt`, of whatever kind, a PEM line by line. */
function keysIn(value: unknown): string[] {
  if (typeof value === 'string') return value.split('\n').filter((line) => !line.startsWith('-----'));
  if (Buffer.isBuffer(value)) return (['utf8', 'hex', 'base64', 'base64url'] as const).map((as) => value.toString(as));
  if (value instanceof KeyObject) return value.type === 'secret' ? keysIn(value.export()) : [];
  if (value === null || typeof value !== 'object') return [];
  if (Array.isArray(value)) return value.flatMap(keysIn);
  const members = Object.entries(value).filter(([name]) => KEY_OPTIONS.has(name));
  return members.flatMap(([, member]) => keysIn(member));
}

/** The members of a JSON or form body. */
function fieldsOf(body: string): [string, unknown][] {
  try {
    return Object.entries((JSON.parse(body) as object | null) ?? {});
  } catch {
    return [...new URLSearchParams(body)];
  }
}

function masked(line: string, spelled: readonly [string, string][]): string {
  let text = line.replace(TOKEN, (token) => `‹${kindOf(token)}›`).replace(JTI, '‹jti›');
  for (const [secret, kind] of spelled) text = text.replaceAll(secret, `‹${kind}›`);
  return text;
}

function kindOf(token: string): string {
  const claims = Buffer.from(token.split('.')[1], 'base64url').toString();
  const [, type] = /"(access|refresh)"/.exec(claims) ?? [];
  return type ? `${type} token` : 'token';
}
