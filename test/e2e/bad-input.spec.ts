import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { ValidationPipe } from '@nestjs/common';
import { SHORT_AND_LONG } from 'nestjs-multisession';
import { type Answer, bearer, SECRET_KEY, startApp, type TestApp } from '../helpers/app.js';
import { selectedDatabases } from '../helpers/databases.js';
import { onEachDatabaseAndAdapter } from '../helpers/matrix.js';
import { rowsOf } from '../helpers/rows.js';

const REQUIRED = 'This field is required.';
const NULL = 'This field may not be null.';
const BLANK = 'This field may not be blank.';
const NO_STRING = 'Not a valid string.';
const NO_NUL = 'Null characters are not allowed.';
const tooLong = (most: number) => `Ensure this field has no more than ${most} characters.`;

const JSON_TYPE = 'application/json';
const FORM_TYPE = 'application/x-www-form-urlencoded';

type Body = Record<string, unknown>;
interface Tokens {
  refresh: string;
  access: string;
  session_id: string;
}
interface Route {
  name: string;
  needsAccess: boolean;
  body: (tokens: Tokens) => Body;
  /** The answer to a value that is well-formed but wrong, by field. */
  wrong: Record<string, string>;
  /** A field that may be absent. */
  optional?: string;
}

const ROUTES: Route[] = [
  {
    name: 'login',
    needsAccess: false,
    body: () => ({
      username: 'bob',
      password: 'bob-password',
      secret_key: SECRET_KEY,
      session: 'LONG',
      info: 'a test',
    }),
    wrong: {
      username: '401 invalid_credentials',
      password: '401 invalid_credentials',
      secret_key: '401 secret_key_invalid',
      session: '400 invalid_session_type',
    },
  },
  {
    name: 'refresh',
    needsAccess: false,
    body: ({ refresh }) => ({ refresh, secret_key: SECRET_KEY, session: 'LONG' }),
    wrong: {
      refresh: '401 session_not_found',
      secret_key: '401 secret_key_invalid',
      session: '400 invalid_session_type',
    },
    optional: 'session',
  },
  {
    name: 'list',
    needsAccess: true,
    body: () => ({ session: 'ALL' }),
    wrong: { session: '400 invalid_session_type' },
  },
  {
    name: 'destroy',
    needsAccess: true,
    body: ({ session_id }) => ({ session_id }),
    wrong: { session_id: '404 session_not_found' },
  },
  {
    name: 'destroyAllOther',
    needsAccess: true,
    body: ({ refresh }) => ({ session: 'ALL', refresh }),
    wrong: { session: '400 invalid_session_type', refresh: '401 token_not_valid' },
  },
  {
    name: 'logout',
    needsAccess: false,
    body: ({ refresh }) => ({ secret_key: SECRET_KEY, refresh }),
    wrong: { secret_key: '401 secret_key_invalid', refresh: '401 session_not_found' },
  },
];
const FIELDS = ROUTES.flatMap((route) =>
  Object.keys(route.body({} as Tokens)).map((field) => [route.name, field, route] as const),
);

/** Fields that hold a name, a type or an id, so that U+FFFD means that the text was broken in transit. */
const NAMES = ['username', 'session', 'session_id'];

const FAULTS: [what: string, value: unknown, text: string][] = [
  ['missing', undefined, REQUIRED],
  ['null', null, NULL],
  ['blank', '', BLANK],
  ['spaces', '   ', BLANK],
  ['white space of every sort', ' \t\r\n\u00a0\u3000', BLANK],
  ['zero', 0, NO_STRING],
  ['a number', 12.5, NO_STRING],
  ['true', true, NO_STRING],
  ['false', false, NO_STRING],
  ['an empty array', [], NO_STRING],
  ['an array of strings', ['LONG'], NO_STRING],
  ['an empty object', {}, NO_STRING],
  ['an operator', { $ne: null }, NO_STRING],
  ['an object like a string', { length: 4, trim: 'x', toString: 'x', then: 'x' }, NO_STRING],
  ['nested', { a: [{ b: [{ c: 'LONG' }] }] }, NO_STRING],
  ['NUL alone', '\0', NO_NUL],
  ['NUL within', 'LO\0NG', NO_NUL],
];

/** Refused in names and accepted in other texts. */
const BROKEN_NAMES: [what: string, value: string][] = [
  ['U+FFFD', 'LO\ufffdNG'],
  ['a lone high surrogate', 'LONG\ud800'],
  ['a lone low surrogate', '\udc00LONG'],
  ['surrogates the wrong way round', '\udc00\ud800'],
];

/** Well-formed but wrong values. */
const WRONG_VALUES: [what: string, value: string][] = [
  ['another', 'NOPE'],
  ['of 50 000 characters', 'x'.repeat(50_000)],
  ['of 20 000 emoji', '🦊'.repeat(20_000)],
  ['SQL', "' OR '1'='1' --"],
  ['a path', '../../etc/passwd'],
  ['the word __proto__', '__proto__'],
  ['the word constructor', 'constructor'],
  ['the word toString', 'toString'],
];

const PIPES = [
  ['no global pipe', undefined],
  [
    'a strict global ValidationPipe',
    () => new ValidationPipe({ whitelist: true, forbidNonWhitelisted: true, transform: true }),
  ],
] as const;

/** Writes status, code and errors in one line. Fails on a server error. */
function summary({ status, body }: Answer): string {
  expect(status).toBeLessThan(500);
  if (body.code === undefined) return String(status);
  const { statusCode, error, message, code, errors, ...more } = body;
  expect({ statusCode, more }).toEqual({ statusCode: status, more: {} });
  expect([typeof error, typeof message]).toEqual(['string', 'string']);
  return [status, code, ...(errors ? [JSON.stringify(errors)] : [])].join(' ');
}

const refused = (errors: Record<string, string>): string =>
  `400 validation_failed ${JSON.stringify(Object.fromEntries(Object.entries(errors).map(([field, text]) => [field, [text]])))}`;

/** The refusal that has one text for every field of a route: `REQUIRED` only for those that are. */
const allRefused = (route: Route, text: string): string => {
  const fields = Object.keys(route.wrong).filter((field) => text !== REQUIRED || field !== route.optional);
  return refused(Object.fromEntries(fields.map((field) => [field, text])));
};

onEachDatabaseAndAdapter((databaseName, adapter) => {
  // A pipe works the same on every database.
  const pipes = PIPES.filter(([, pipe]) => !pipe || databaseName === selectedDatabases()[0]);

  describe.each(pipes)('%s', (_name, pipe) => {
    let app: TestApp;
    let tokens: Tokens;

    beforeAll(async () => {
      app = await startApp({
        databaseName,
        adapter,
        options: {
          policies: {
            ...SHORT_AND_LONG,
            ONE: { refreshTokenLifetime: '1d', maxActiveSessions: 1, whenFull: 'refuse' },
          },
        },
        configure: (nest) => pipe && nest.useGlobalPipes(pipe()),
      });
      tokens = await app.login();
    });
    afterAll(() => app?.close());

    const authorization = (route: Route) => (route.needsAccess ? bearer(tokens.access) : {});
    const post = async (route: Route, body: unknown, headers?: Record<string, string>) =>
      summary(await app.post(`${route.name}/`, body, { ...authorization(route), ...headers }));
    const raw = async (route: Route, type: string | undefined, body: string | undefined) =>
      summary(
        await app.post(`${route.name}/`, body, { ...authorization(route), ...(type && { 'content-type': type }) }),
      );
    const routeNamed = (name: string) => ROUTES.find((route) => route.name === name) as Route;

    /** Sends all requests of a table and compares their answers. None of them may change the database. */
    async function expectTable(rows: (readonly [what: string, ask: () => Promise<string>, answer: string])[]) {
      const before = await rowsOf(app);
      const answers = Object.fromEntries(
        await Promise.all(rows.map(async ([what, ask]) => [what, await ask()] as const)),
      );
      expect(answers).toEqual(Object.fromEntries(rows.map(([what, , answer]) => [what, answer])));
      expect(await rowsOf(app)).toEqual(before);
    }

    describe('fields', () => {
      test.each(FIELDS)('%s: %s', async (_route, field, route) => {
        const ask = (value: unknown) => () => post(route, { ...route.body(tokens), [field]: value });
        const wrong = route.wrong[field];
        const { asked } = app.users;
        await expectTable([
          ...FAULTS.filter(([what]) => ![route.optional, 'info'].includes(field) || what !== 'missing').map(
            ([what, value, text]) => [what, ask(value), refused({ [field]: text })] as const,
          ),
          ...BROKEN_NAMES.filter(() => field !== 'info').map(
            ([what, value]) =>
              [what, ask(value), NAMES.includes(field) ? refused({ [field]: NO_STRING }) : wrong] as const,
          ),
        ]);
        expect(app.users.asked - asked).toBe(field === 'password' ? BROKEN_NAMES.length : 0);
        if (wrong) await expectTable(WRONG_VALUES.map(([what, value]) => [what, ask(value), wrong] as const));
      });

      test('names all faulty fields at once, before it asks the authenticator', async () => {
        const { asked } = app.users;
        await expectTable(
          ROUTES.flatMap((route) => {
            const all = (value: unknown) => Object.fromEntries(Object.keys(route.wrong).map((field) => [field, value]));
            return [
              [`${route.name}: missing`, () => post(route, {}), allRefused(route, REQUIRED)] as const,
              [`${route.name}: null`, () => post(route, all(null)), allRefused(route, NULL)] as const,
              [`${route.name}: blank`, () => post(route, all(' ')), allRefused(route, BLANK)] as const,
              [`${route.name}: arrays`, () => post(route, all([])), allRefused(route, NO_STRING)] as const,
            ];
          }),
        );
        expect(app.users.asked).toBe(asked);
      });

      test('refuses deeply nested values like any other faulty value', async () => {
        const nest = (depth: number) => '['.repeat(depth) + ']'.repeat(depth);
        await expectTable(
          FIELDS.map(([name, field, route]) => {
            const body = JSON.stringify({ ...route.body(tokens), [field]: 'HERE' }).replace('"HERE"', nest(20_000));
            return [`${name}: ${field}`, () => raw(route, JSON_TYPE, body), refused({ [field]: NO_STRING })] as const;
          }),
        );
      });

      test('lists the known types in the refusal of an unknown one', async () => {
        const typesTold = async (name: string) =>
          (await app.post(name, { ...routeNamed(name).body(tokens), session: 'NOPE' }, bearer(tokens.access))).body
            .message;
        expect(await typesTold('login')).toMatch(/SHORT, LONG, ONE$/);
        expect(await typesTold('refresh')).toMatch(/SHORT, LONG, ONE$/);
        expect(await typesTold('list')).toMatch(/SHORT, LONG, ONE, ALL$/);
        expect(await typesTold('destroyAllOther')).toMatch(/SHORT, LONG, ONE, ALL$/);
      });

      test('accepts ALL in lists, but not at login or refresh', async () => {
        await expectTable(
          ['login', 'refresh'].map((name) => {
            const route = routeNamed(name);
            const body = { ...route.body(tokens), session: 'ALL' };
            return [name, () => post(route, body), '400 invalid_session_type'] as const;
          }),
        );
      });
    });

    describe('bodies', () => {
      const object = (route: Route) => JSON.stringify(route.body(tokens));
      const differs = (express: string, fastify: string) => ({ express, fastify })[adapter];
      const BODIES: [
        what: string,
        type: string | undefined,
        body: (route: Route) => string | undefined,
        answer: (route: Route) => string,
      ][] = [
        ['none', undefined, () => undefined, (route) => allRefused(route, REQUIRED)],
        ['none, said to be a form', FORM_TYPE, () => '', (route) => allRefused(route, REQUIRED)],
        ['none, said to be JSON', JSON_TYPE, () => '', (route) => allRefused(route, REQUIRED)],
        ['text/plain', 'text/plain', object, (route) => allRefused(route, REQUIRED)],
        // Express ignores a body that it does not parse, and Fastify refuses it.
        ['XML', 'application/xml', () => '<a/>', (route) => differs(allRefused(route, REQUIRED), '415')],
        [
          'multipart',
          'multipart/form-data; boundary=x',
          object,
          (route) => differs(allRefused(route, REQUIRED), '415'),
        ],
        ['half an object', JSON_TYPE, (route) => object(route).slice(0, -1), () => '400'],
        ['a comma too many', JSON_TYPE, (route) => object(route).replace('}', ',}'), () => '400'],
        ['two objects', JSON_TYPE, (route) => object(route).repeat(2), () => '400'],
        ['a form, said to be JSON', JSON_TYPE, () => 'session=ALL', () => '400'],
        ['NaN', JSON_TYPE, () => '{"session":NaN}', () => '400'],
        ['undefined', JSON_TYPE, () => 'undefined', () => '400'],
        ['NULs', JSON_TYPE, () => '\0\0\0\0', () => '400'],
        ['an empty array', JSON_TYPE, () => '[]', () => '400'],
        ['an array of one', JSON_TYPE, (route) => `[${object(route)}]`, () => '400'],
        ['a deep array', JSON_TYPE, () => '['.repeat(40_000) + ']'.repeat(40_000), () => '400'],
        ['half a deep array', JSON_TYPE, () => '['.repeat(90_000), () => '400'],
        ['a string', JSON_TYPE, () => '"LONG"', () => '400'],
        ['an empty string', JSON_TYPE, () => '""', () => '400'],
        ['an object in a string', JSON_TYPE, (route) => JSON.stringify(object(route)), () => '400'],
        ['a number', JSON_TYPE, () => '1', () => '400'],
        ['zero', JSON_TYPE, () => '0', () => '400'],
        ['true', JSON_TYPE, () => 'true', () => '400'],
        ['false', JSON_TYPE, () => 'false', () => '400'],
        ['null', JSON_TYPE, () => 'null', () => '400'],
        // Fastify refuses prototype poisoning before our code runs.
        [
          'all fields in __proto__',
          JSON_TYPE,
          (route) => `{"__proto__":${object(route)}}`,
          (route) => differs(allRefused(route, REQUIRED), '400'),
        ],
        [
          'all fields in constructor.prototype',
          JSON_TYPE,
          (route) => `{"constructor":{"prototype":${object(route)}}}`,
          (route) => differs(allRefused(route, REQUIRED), '400'),
        ],
      ];

      test.each(ROUTES.map((route) => [route.name, route] as const))('%s', async (_name, route) => {
        await expectTable(
          BODIES.map(
            ([what, type, body, answer]) => [what, () => raw(route, type, body(route)), answer(route)] as const,
          ),
        );
      });

      test('answers 413 to a body over the limit', async () => {
        const body = JSON.stringify({ session: 'x'.repeat(1_100_000) });
        await expectTable(ROUTES.map((route) => [route.name, () => raw(route, JSON_TYPE, body), '413'] as const));
      });

      test('checks JSON before the access token, and the access token before the fields', async () => {
        await expectTable(
          ROUTES.filter((route) => route.needsAccess).flatMap((route) => {
            const ask = async (body: string, headers: Record<string, string>) =>
              summary(await app.post(route.name, body, { 'content-type': JSON_TYPE, ...headers }));
            return [
              [`${route.name}: broken, no token`, () => ask('{', {}), '400'] as const,
              [`${route.name}: empty, no token`, () => ask('{}', {}), '401 not_authenticated'] as const,
              [`${route.name}: empty, bad token`, () => ask('{}', bearer('x')), '401 token_not_valid'] as const,
              [`${route.name}: array, no token`, () => ask('[]', {}), '401 not_authenticated'] as const,
            ];
          }),
        );
      });
    });

    describe('forms', () => {
      const form = (body: Body) => new URLSearchParams(body as Record<string, string>).toString();

      test('are accepted by every route', async () => {
        const [own, other] = [await app.login(), await app.login()];
        for (const { name, body } of ROUTES) {
          // One session destroys the other, and logs out in the end.
          const fields = body(name === 'destroy' ? other : own);
          const headers = { 'content-type': FORM_TYPE, ...bearer(own.access) };
          expect([name, (await app.post(`${name}/`, form(fields), headers)).status]).toEqual([name, 200]);
        }
        tokens = await app.login();
      });

      test('are refused with the same texts as JSON', async () => {
        const login = routeNamed('login');
        const valid = form(login.body(tokens));
        const ask = (body: string) => () => raw(login, FORM_TYPE, body);
        await expectTable([
          ['a field twice', ask(`${valid}&username=alice`), refused({ username: NO_STRING })],
          [
            'every field twice',
            ask(`${valid}&${valid}`),
            refused({
              username: NO_STRING,
              password: NO_STRING,
              secret_key: NO_STRING,
              session: NO_STRING,
              info: NO_STRING,
            }),
          ],
          ['blank', ask(valid.replace(/session=\w+/, 'session=')), refused({ session: BLANK })],
          ['spaces', ask(valid.replace(/session=\w+/, 'session=++')), refused({ session: BLANK })],
          ['without a value', ask(valid.replace(/session=\w+/, 'session')), refused({ session: BLANK })],
          ['NUL', ask(valid.replace(/session=\w+/, 'session=LO%00NG')), refused({ session: NO_NUL })],
        ]);
      });
    });

    describe('unusual but valid requests', () => {
      const EXTRA = { admin: true, id: 7, userId: 'alice', type: 'ONE', toString: 1, hasOwnProperty: null, then: {} };

      test('ignores extra fields', async () => {
        const own = await app.login();
        // Express parses a field of this name, and Fastify refuses the body.
        const extra = JSON.stringify({ ...EXTRA, constructor: 'x' }).slice(1, -1);
        const proto = adapter === 'express' ? ',"__proto__":{"session":"NOPE","admin":true}' : '';
        for (const route of ROUTES.filter(({ name }) => name !== 'destroy')) {
          const body = `{${extra}${proto},${JSON.stringify(route.body(own)).slice(1)}`;
          const answer = await app.post(`${route.name}/`, body, { 'content-type': JSON_TYPE, ...bearer(own.access) });
          expect([route.name, answer.status]).toEqual([route.name, 200]);
          if (route.name === 'login')
            expect(Object.keys(answer.body).sort()).toEqual(['access', 'refresh', 'session_id']);
        }
        expect(({} as { admin?: boolean }).admin).toBeUndefined();
        tokens = await app.login();
      });

      test.each(['LONG', 'long', 'Long', ' lOnG ', '\tLONG\n', '\u00a0long\u3000'])(
        'accepts the session type %j',
        async (session) => {
          const own = await app.login({ session });
          const refresh = { refresh: own.refresh, secret_key: SECRET_KEY, session };
          expect((await app.post('refresh', refresh)).status).toBe(200);
          const list = await app.post('list', { session }, bearer(own.access));
          expect(Object.keys(list.body)).toEqual(['Long']);
          expect(
            (await app.post('destroyAllOther', { session, refresh: own.refresh }, bearer(own.access))).status,
          ).toBe(200);
          expect((await app.post('list', { session: ' all ' }, bearer(own.access))).status).toBe(200);
          tokens = own;
        },
      );

      test('ignores a trailing slash, and answers 404 to another path or method', async () => {
        await expectTable(
          ROUTES.flatMap((route) => {
            const ask = (method: string, path: string) => async () =>
              summary(await app.request(method, path, { headers: authorization(route) }));
            const path = `/api/session/${route.name}`;
            return [
              [`POST ${path}`, ask('POST', path), allRefused(route, REQUIRED)] as const,
              [`POST ${path}/`, ask('POST', `${path}/`), allRefused(route, REQUIRED)] as const,
              [
                `POST ${path}/?session=LONG`,
                ask('POST', `${path}/?session=LONG`),
                allRefused(route, REQUIRED),
              ] as const,
              ...['GET', 'PUT', 'PATCH', 'DELETE'].flatMap((method) => [
                [`${method} ${path}`, ask(method, path), '404'] as const,
                [`${method} ${path}/`, ask(method, `${path}/`), '404'] as const,
              ]),
              [`POST ${path}/x`, ask('POST', `${path}/x`), '404'] as const,
              [`POST ${path}//`, ask('POST', `${path}//x`), '404'] as const,
            ];
          }),
        );
      });
    });

    test('runs cheap checks before it asks the authenticator, in the order of the contract', async () => {
      await app.login({ session: 'ONE', username: 'bob', password: 'bob-password' });
      const login = { username: 'bob', password: 'bob-password', secret_key: SECRET_KEY, session: 'ONE' };
      const [refresh, logout] = [routeNamed('refresh'), routeNamed('logout')];
      const { asked } = app.users;
      const [noPassword, noType] = [{ password: '' }, { session: 'NOPE' }];
      const [noKey, wrong] = [{ secret_key: 'x' }, { password: 'x' }];
      await expectTable([
        [
          'all faults',
          () => post(routeNamed('login'), { ...login, ...noType, ...noKey, ...noPassword }),
          refused({ password: BLANK }),
        ],
        [
          'type, secret key, password, limit',
          () => post(routeNamed('login'), { ...login, ...noType, ...noKey, ...wrong }),
          '400 invalid_session_type',
        ],
        [
          'secret key, password, limit',
          () => post(routeNamed('login'), { ...login, ...noKey, ...wrong }),
          '401 secret_key_invalid',
        ],
        ['secret key, limit', () => post(routeNamed('login'), { ...login, ...noKey }), '401 secret_key_invalid'],
        [
          'refresh: field, type',
          () => post(refresh, { refresh: '', ...noKey, ...noType }),
          refused({ refresh: BLANK }),
        ],
        [
          'refresh: type, secret key',
          () => post(refresh, { refresh: 'x', ...noKey, ...noType }),
          '400 invalid_session_type',
        ],
        [
          'refresh: secret key, token',
          () => post(refresh, { refresh: 'x', ...noKey, session: 'LONG' }),
          '401 secret_key_invalid',
        ],
        ['logout: secret key, token', () => post(logout, { refresh: 'x', ...noKey }), '401 secret_key_invalid'],
      ]);
      expect(app.users.asked).toBe(asked);
      await expectTable([
        ['password, limit', () => post(routeNamed('login'), { ...login, ...wrong }), '401 invalid_credentials'],
        ['limit', () => post(routeNamed('login'), login), '409 session_limit_reached'],
      ]);
      expect(app.users.asked).toBe(asked + 2);
    });
  });

  describe('info', () => {
    let app: TestApp;
    beforeAll(async () => {
      app = await startApp({ databaseName, adapter, options: { maxInfoLength: 20 } });
    });
    afterAll(() => app?.close());

    /** Logs in with this `info` and returns it as the list shows it, or the refusal of the login. */
    async function infoAfter(info: unknown, headers: Record<string, string> = {}): Promise<unknown> {
      const body = { username: 'alice', password: 'alice-password', secret_key: SECRET_KEY, session: 'LONG', info };
      const answer = await app.post('login/', body, headers);
      if (answer.status !== 200) return summary(answer);
      const { access, session_id } = answer.body as Tokens;
      const list = await app.post('list/', { session: 'LONG' }, bearer(access));
      return list.body.Long.Sessions.find((entry: Tokens) => entry.session_id === session_id).session_info;
    }

    test.each([
      ['as given', 'Safari 15.6.1, iOS', 'Safari 15.6.1, iOS'],
      ['trimmed', ' \t my\tphone \n', 'my\tphone'],
      ['not interpreted', '<b>&amp;%20\\u0041', '<b>&amp;%20\\u0041'],
      ['accents, composed and not', 'é e\u0301', 'é e\u0301'],
      ['Arabic, and marks of direction', 'هاتف\u200f\u202e', 'هاتف\u200f\u202e'],
      ['emoji of several code points', '👩‍👩‍👧‍👦🏳️‍🌈', '👩‍👩‍👧‍👦🏳️‍🌈'],
      ['astral characters', '𝒟𐍈🦊', '𝒟𐍈🦊'],
      ['U+FFFD', 'a\ufffdb', 'a\ufffdb'],
      ['half a character', 'a\ud800b', 'a\ufffdb'],
      ['controls', 'a\u0001\u007fb', 'a\u0001\u007fb'],
      ['of the longest length', 'x'.repeat(20), 'x'.repeat(20)],
      ['of the longest length after trimming', ` ${'x'.repeat(20)} `, 'x'.repeat(20)],
      ['of the longest length, each of two code units', '🦊'.repeat(20), '🦊'.repeat(20)],
      ['one too many', 'x'.repeat(21), refused({ info: tooLong(20) })],
      ['one too many, each of two code units', '🦊'.repeat(21), refused({ info: tooLong(20) })],
    ])('%s', async (_what, info, expected) => expect(await infoAfter(info)).toBe(expected));

    test('defaults to the device name, then to the user agent, then to nothing', async () => {
      expect(await infoAfter(undefined, { 'x-device-model': ' Pixel 9 ', 'user-agent': 'curl/8' })).toBe('Pixel 9');
      expect(await infoAfter(undefined, { 'user-agent': 'curl/8' })).toBe('curl/8');
      expect(await infoAfter(undefined, { 'x-device-model': ' ', 'user-agent': '' })).toBe('');
      expect(await infoAfter(undefined, { 'x-device-model': 'x'.repeat(9000) })).toBe('x'.repeat(255));
      expect(await infoAfter('told', { 'x-device-model': 'Pixel 9' })).toBe('told');
    });

    test('may have 10,000 characters by default, even of four bytes each', async () => {
      const ordinary = await startApp({ databaseName, adapter });
      try {
        await ordinary.login({ info: '🦊'.repeat(10_000) });
        await expect(ordinary.login({ info: 'x'.repeat(10_001) })).rejects.toThrow(tooLong(10_000));
      } finally {
        await ordinary.close();
      }
    });
  });

  describe('the secret key', () => {
    const credentials = { username: 'alice', password: 'alice-password', session: 'LONG' };
    const CONFIGURED: [
      name: string,
      secretKey: string | string[] | false,
      answers: [given: Body, header: string | undefined, answer: string][],
    ][] = [
      [
        'one',
        SECRET_KEY,
        [
          [{ secret_key: SECRET_KEY }, undefined, '200'],
          [{}, SECRET_KEY, '200'],
          [{ secret_key: 7 }, SECRET_KEY, '200'],
          [{ secret_key: 'wrong' }, SECRET_KEY, '200'],
          [{ secret_key: SECRET_KEY }, 'wrong', '401 secret_key_invalid'],
          [{ secret_key: SECRET_KEY }, '', '401 secret_key_invalid'],
          [{ secret_key: 'wrong' }, undefined, '401 secret_key_invalid'],
          [{ secret_key: `${SECRET_KEY} ` }, undefined, '401 secret_key_invalid'],
          [{ secret_key: SECRET_KEY.toUpperCase() }, undefined, '401 secret_key_invalid'],
          [{ secret_key: SECRET_KEY.slice(0, -1) }, undefined, '401 secret_key_invalid'],
          [{}, undefined, refused({ secret_key: REQUIRED })],
        ],
      ],
      [
        'several',
        ['the old secret key', 'the new key ключ'],
        [
          [{ secret_key: 'the old secret key' }, undefined, '200'],
          [{ secret_key: 'the new key ключ' }, undefined, '200'],
          [{}, 'the old secret key', '200'],
          [{ secret_key: 'the old secret key,the new key ключ' }, undefined, '401 secret_key_invalid'],
          [{ secret_key: ['the old secret key', 'the new key ключ'] }, undefined, refused({ secret_key: NO_STRING })],
        ],
      ],
      [
        'false',
        false,
        [
          [{}, undefined, '200'],
          [{ secret_key: 'any' }, undefined, '200'],
          [{ secret_key: null }, undefined, '200'],
          [{}, 'any', '200'],
        ],
      ],
    ];

    test.each(CONFIGURED)('%s', async (_name, secretKey, answers) => {
      const app = await startApp({ databaseName, adapter, options: { secretKey } });
      try {
        for (const [given, header, answer] of answers) {
          const headers: Record<string, string> = header === undefined ? {} : { 'x-secret-key': header };
          const { length } = (await rowsOf(app)).sessions;
          const login = await app.post('login/', { ...credentials, ...given }, headers);
          expect([given, header, summary(login)]).toEqual([given, header, answer]);
          expect((await rowsOf(app)).sessions.length - length).toBe(answer === '200' ? 1 : 0);
          if (answer !== '200') continue;
          const { refresh } = login.body as Tokens;
          expect((await app.post('refresh/', { refresh, session: 'LONG', ...given }, headers)).status).toBe(200);
          expect((await app.post('logout/', { refresh, ...given }, headers)).status).toBe(200);
        }
      } finally {
        await app.close();
      }
    });
  });

  test('errors name the user name field as it is configured', async () => {
    const app = await startApp({ databaseName, adapter, options: { usernameField: 'email' } });
    const ask = async (more: Body) =>
      summary(
        await app.post('login', { password: 'alice-password', secret_key: SECRET_KEY, session: 'LONG', ...more }),
      );
    try {
      expect(await ask({ email: 'alice' })).toBe('200');
      expect(await ask({ email: 'alice', username: 7 })).toBe('200');
      expect(await ask({ email: 'bob', username: 'alice' })).toBe('401 invalid_credentials');
      expect(await ask({ username: 'alice' })).toBe(refused({ email: REQUIRED }));
      for (const [, value, text] of FAULTS) expect(await ask({ email: value })).toBe(refused({ email: text }));
      for (const [, value] of BROKEN_NAMES) expect(await ask({ email: value })).toBe(refused({ email: NO_STRING }));
    } finally {
      await app.close();
    }
  });
});
