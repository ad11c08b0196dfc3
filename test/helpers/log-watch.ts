import { KeyObject } from 'node:crypto';

/** The length of the shortest secret to search for. Shorter ones are common words, such as `wrong`. */
const MIN_SECRET_LENGTH = 8;
/** The form of a token and of a `jti`, which are secrets wherever they come from. */
const TOKEN = /eyJ[\w-]+\.eyJ[\w-]+(\.[\w-]*)?/g;
const JTI = /\b[0-9a-f]{32}\b/g;
/** Fields and headers whose value is a secret, each with its kind. */
const SECRET_FIELDS: Record<string, string> = {
  password: 'password',
  secret_key: 'secret key',
  'x-secret-key': 'secret key',
};

/** Options in `jwt` that hold a key, or further options with keys. */
const KEY_OPTIONS = new Set(['keys', 'managed', 'secret', 'privateKey', 'encryptionKey']);

/** A request and its answer. */
export interface Exchange {
  readonly method: string;
  readonly url: string;
  readonly headers: Iterable<[string, string]>;
  readonly body: string;
  readonly status: number;
  readonly location: string | null;
  readonly answer: string;
}

/** The module's options that hold secrets. */
interface SecretOptions {
  readonly jwt?: unknown;
  readonly secretKey?: unknown;
}

/** Collects the secrets that a suite uses and everything that is logged, and finds the secrets in the logs. */
export class LogWatch {
  /** Maps each password and key to its kind. */
  private readonly secrets = new Map<string, string>();
  private readonly texts: string[] = [];
  private readonly logs: (() => string)[] = [];

  /**
   * Adds a secret.
   * @param kind for example `'password'`
   */
  secret(kind: string, text: unknown): void {
    if (typeof text === 'string' && text.length >= MIN_SECRET_LENGTH) this.secrets.set(text, kind);
  }

  /** Adds the keys in an application's options. */
  options({ jwt, secretKey }: SecretOptions): void {
    for (const key of [secretKey].flat()) this.secret('secret key', key);
    for (const text of keysIn(jwt)) this.secret('signing key', text);
  }

  /** Adds a text that must not contain secrets, such as a logged line. */
  text(place: string, text: string): void {
    for (const line of text.split('\n')) this.texts.push(`${place}: ${line}`);
  }

  /** Adds a log that still grows. It is read when the suite ends. */
  log(place: string, read: () => string): void {
    this.logs.push(() => read().replaceAll(/^/gm, `${place}: `));
  }

  /** Adds the secrets that a request sends. Its URL and the body of an error must not contain any. */
  exchange({ method, url, headers, body, status, location, answer }: Exchange): void {
    for (const [name, value] of [...headers, ...fieldsOf(body)]) {
      if (Object.hasOwn(SECRET_FIELDS, name)) this.secret(SECRET_FIELDS[name], value);
    }
    this.text('URL', `${method} ${url}`);
    if (location) this.text('URL', location);
    if (status >= 400) this.text(`error body, ${method} ${new URL(url).pathname}`, answer);
  }

  /** All recorded lines, each with its place. */
  lines(): string[] {
    return [...this.texts, ...this.logs.flatMap((read) => read().split('\n'))];
  }

  /** The distinct lines that contain a secret, which is replaced by its kind. */
  leaks(): string[] {
    const spelled = this.spelled();
    const leaks = this.lines().flatMap((line) => {
      const mask = masked(line, spelled);
      return mask === line ? [] : [mask];
    });
    return [...new Set(leaks)];
  }

  /** Each password and key as it is, and as it is spelled in JSON and in a URL. */
  private spelled(): [string, string][] {
    return [...this.secrets].flatMap(([secret, kind]) => {
      const spellings = [secret, JSON.stringify(secret).slice(1, -1), encodeURIComponent(secret.toWellFormed())];
      return [...new Set(spellings)].map((spelling): [string, string] => [spelling, kind]);
    });
  }
}

/** The one instance of a test file, shared by the setup and the helpers. */
export const watch = new LogWatch();

/** The keys in `jwt`, of any kind. Each line of a PEM counts as a secret. */
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
  let text = line.replace(TOKEN, (token) => `<${kindOf(token)}>`).replace(JTI, '<jti>');
  for (const [secret, kind] of spelled) text = text.replaceAll(secret, `<${kind}>`);
  return text;
}

function kindOf(token: string): string {
  const claims = Buffer.from(token.split('.')[1], 'base64url').toString();
  const [, type] = /"(access|refresh)"/.exec(claims) ?? [];
  return type ? `${type} token` : 'token';
}
