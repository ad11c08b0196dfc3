import {
  constants,
  createHmac,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
  sign as signWith,
} from 'node:crypto';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { Controller, Get, UseGuards } from '@nestjs/common';
import { CurrentSession, JwtAuthGuard, type JwtOptions } from 'nestjs-multisession';
import { DJANGO_SHORT_AND_LONG } from 'nestjs-multisession/django';
import { type Answer, bearer, SECRET_KEY, SIGNING_SECRET, startApp, type TestApp } from '../helpers/app.js';
import { selectedDatabases } from '../helpers/databases.js';
import { onEachDatabaseAndAdapter } from '../helpers/matrix.js';
import { rowsOf } from '../helpers/rows.js';
import { decoded, type TokenPart } from '../helpers/tokens.js';

@Controller('me')
@UseGuards(JwtAuthGuard)
class MeController {
  @Get()
  me(@CurrentSession('userId') userId: string) {
    return { userId };
  }
}

/** Signs the first two parts of a token. */
type Signer = (text: string) => Buffer;

const hmac =
  (hash: string, key: string | Buffer): Signer =>
  (text) =>
    createHmac(hash, key).update(text).digest();
const rsa =
  (hash: string, key: KeyObject, padding = constants.RSA_PKCS1_PADDING): Signer =>
  (text) =>
    signWith(hash, Buffer.from(text), { key, padding });
const ecdsa =
  (key: KeyObject): Signer =>
  (text) =>
    signWith('sha256', Buffer.from(text), { key, dsaEncoding: 'ieee-p1363' });
const always =
  (signature: Buffer): Signer =>
  () =>
    signature;
const UNSIGNED = always(Buffer.alloc(0));

const rsaPair = generateKeyPairSync('rsa', { modulusLength: 2048 });
const ecPair = generateKeyPairSync('ec', { namedCurve: 'prime256v1' });
const foreignRsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
const foreignEc = generateKeyPairSync('ec', { namedCurve: 'prime256v1' });
const pem = (key: KeyObject) =>
  key.export({ type: key.type === 'private' ? 'pkcs8' : 'spki', format: 'pem' }).toString();

/** The attacked servers: how each one signs, and signatures by its own keys that it must still refuse. */
const SERVERS: {
  name: string;
  jwt: JwtOptions;
  sign: Signer;
  publicKey?: KeyObject;
  otherAlgorithms: Record<string, Signer>;
}[] = [
  {
    name: 'HS256',
    jwt: { secret: SIGNING_SECRET },
    sign: hmac('sha256', SIGNING_SECRET),
    otherAlgorithms: { HS384: hmac('sha384', SIGNING_SECRET), HS512: hmac('sha512', SIGNING_SECRET) },
  },
  {
    name: 'RS256',
    jwt: { keys: [{ algorithm: 'RS256', privateKey: pem(rsaPair.privateKey) }] },
    sign: rsa('sha256', rsaPair.privateKey),
    publicKey: rsaPair.publicKey,
    otherAlgorithms: {
      RS512: rsa('sha512', rsaPair.privateKey),
      PS256: rsa('sha256', rsaPair.privateKey, constants.RSA_PKCS1_PSS_PADDING),
    },
  },
  {
    name: 'ES256',
    // With a second key, a token may name an algorithm that another key has.
    jwt: { keys: [{ algorithm: 'ES256', privateKey: pem(ecPair.privateKey) }, { secret: SIGNING_SECRET }] },
    sign: ecdsa(ecPair.privateKey),
    publicKey: ecPair.publicKey,
    otherAlgorithms: { HS256: hmac('sha256', SIGNING_SECRET) },
  },
  {
    name: 'HS256 with an issuer and an audience',
    jwt: { secret: SIGNING_SECRET, issuer: 'https://us.example', audience: ['app', 'site'] },
    sign: hmac('sha256', SIGNING_SECRET),
    otherAlgorithms: {},
  },
];
type AttackedServer = (typeof SERVERS)[number];

/** The attacker's loot: a genuine token, one of the other type, and one of another session. The attacker also has own keys. */
interface Loot {
  server: AttackedServer;
  genuine: string;
  ofOtherType: string;
  ofOtherSession: string;
  /** The URL of the attacker's key set. */
  keySet: string;
}
type Forgery = readonly [what: string, token: string];

const encode = (part: unknown) =>
  Buffer.from(typeof part === 'string' ? part : JSON.stringify(part)).toString('base64url');

/** Builds a token from any header and claims. A string is used as it is, for text that JSON cannot produce. */
function token(header: unknown, claims: unknown, sign: Signer): string {
  const text = `${encode(header)}.${encode(claims)}`;
  return `${text}.${sign(text).toString('base64url')}`;
}

function brief(value: unknown): string {
  const text = JSON.stringify(value) ?? 'absent';
  return text.length > 50 ? `${text.slice(0, 10)}… of ${text.length} characters` : text;
}

/** Every key of the attacker, with its algorithm. */
const FOREIGN: Record<string, Signer> = {
  HS256: hmac('sha256', 'a secret of the attacker, of more than thirty-two bytes'),
  RS256: rsa('sha256', foreignRsa.privateKey),
  ES256: ecdsa(foreignEc.privateKey),
};

function forgedAlgorithms({ genuine, server }: Loot): Forgery[] {
  const [header, claims] = [decoded(genuine, 0), decoded(genuine, 1)];
  const none = [
    'none',
    'None',
    'NONE',
    'nOnE',
    'none ',
    '',
    null,
    undefined,
    0,
    true,
    ['none'],
    {},
    ['HS256'],
    'hs256',
    'HS1',
  ];
  return [
    ...none.flatMap((alg): Forgery[] => [
      [`alg ${JSON.stringify(alg)}, no signature`, token({ ...header, alg }, claims, UNSIGNED)],
      [
        `alg ${JSON.stringify(alg)}, the old signature`,
        withSignatureOf(token({ ...header, alg }, claims, UNSIGNED), genuine),
      ],
      [`alg ${JSON.stringify(alg)}, no kid`, token({ alg }, claims, UNSIGNED)],
    ]),
    ...Object.entries({ ...FOREIGN, ...server.otherAlgorithms }).flatMap(([alg, sign]): Forgery[] => [
      [`${alg} of another key, its algorithm`, token({ ...header, alg }, claims, sign)],
      [`${alg} of another key, our algorithm`, token(header, claims, sign === server.sign ? UNSIGNED : sign)],
      [`${alg} of another key, no kid`, token({ alg, typ: 'JWT' }, claims, sign)],
    ]),
    ...['', ' ', 'secret', 'null', String(header.kid)].map((secret): Forgery => [
      `HS256 with the secret "${secret}"`,
      token({ ...header, alg: 'HS256' }, claims, hmac('sha256', secret)),
    ]),
  ];
}

/** The public key as an HMAC secret, in every form in which a server might hold it. */
function confused({ genuine, server: { publicKey } }: Loot): Forgery[] {
  if (!publicKey) return [];
  const [header, claims] = [decoded(genuine, 0), decoded(genuine, 1)];
  const text = pem(publicKey);
  const jwk = publicKey.export({ format: 'jwk' });
  const forms = {
    PEM: text,
    'PEM, trimmed': text.trim(),
    'PEM, CRLF': text.replaceAll('\n', '\r\n'),
    'base64 of the PEM': text.split('\n').slice(1, -2).join(''),
    DER: publicKey.export({ type: 'spki', format: 'der' }),
    JWK: JSON.stringify(jwk),
    number: Buffer.from(String(jwk.n ?? jwk.x), 'base64url'),
  };
  return Object.entries(forms).flatMap(([form, secret]) =>
    (['256', '384', '512'] as const).map((bits): Forgery => [
      `HS${bits} with the public key as ${form}`,
      token({ ...header, alg: `HS${bits}` }, claims, hmac(`sha${bits}`, secret)),
    ]),
  );
}

function forgedHeaders({ genuine, server, keySet }: Loot): Forgery[] {
  const [header, claims] = [decoded(genuine, 0), decoded(genuine, 1)];
  const jwk = {
    ...createPublicKey(foreignRsa.privateKey).export({ format: 'jwk' }),
    kid: 'x',
    use: 'sig',
    alg: 'RS256',
  };
  const own: TokenPart = { alg: 'RS256', typ: 'JWT' };
  const lures: Record<string, TokenPart> = {
    jku: { jku: keySet, kid: 'x' },
    'jku, our kid': { jku: keySet, kid: header.kid },
    jwk: { jwk },
    'jwk, our kid': { jwk, kid: header.kid },
    x5u: { x5u: keySet, kid: header.kid },
    x5c: { x5c: [pem(foreignRsa.publicKey).split('\n').slice(1, -2).join('')], kid: header.kid },
    x5t: { x5t: 'x', 'x5t#S256': 'x', kid: header.kid },
  };
  const kids = ['unknown', '', '.', '../../../../dev/null', '/dev/null', "' UNION SELECT 'x' --", '__proto__', 'constructor',
    'toString', '0', 'x'.repeat(900), 'x'.repeat(5000), null, undefined, 0, true, [header.kid], { toString: header.kid }]; // prettier-ignore
  const empty = hmac('sha256', '');
  const raw = (text: string) => token(text, claims, FOREIGN.HS256);
  const alg = JSON.stringify(header.alg);
  const kid = JSON.stringify(header.kid);
  return [
    ...Object.entries(lures).map(([what, lure]): Forgery => [what, token({ ...own, ...lure }, claims, FOREIGN.RS256)]),
    ...kids.flatMap((name): Forgery[] => [
      [`kid ${brief(name)}, our key`, token({ ...header, kid: name }, claims, server.sign)],
      [`kid ${brief(name)}, an empty key`, token({ ...header, alg: 'HS256', kid: name }, claims, empty)],
    ]),
    ...[['exp'], [], 'exp', null, ['b64'], ['x']].map((crit): Forgery => [
      `crit ${JSON.stringify(crit)}, our key`,
      token({ ...header, crit, b64: false }, claims, server.sign),
    ]),
    ['alg twice, none first', raw(`{"alg":"none","alg":${alg},"kid":${kid}}`)],
    ['alg twice, none last', token(`{"alg":${alg},"alg":"none","kid":${kid}}`, claims, UNSIGNED)],
    ['kid twice', raw(`{"alg":${alg},"kid":"x","kid":${kid}}`)],
    ['alg in __proto__', token(`{"__proto__":{"alg":"none"},"kid":${kid}}`, claims, UNSIGNED)],
    ...['', 'null', '[]', '"x"', '1', 'true', '{', '{}', '{"alg"', '\ufeff{}', 'x', '\0'].map((text): Forgery => [
      `the header ${JSON.stringify(text)}`,
      raw(text),
    ]),
    ['a header of 9 kB', token({ ...header, pad: 'x'.repeat(7000) }, claims, FOREIGN.HS256)],
  ];
}

function withSignatureOf(forged: string, genuine: string): string {
  return `${forged.split('.').slice(0, 2).join('.')}.${genuine.split('.')[2]}`;
}

function editedClaims({ genuine, ofOtherSession }: Loot): Forgery[] {
  const [header, claims] = [decoded(genuine, 0), decoded(genuine, 1)];
  const stranger = decoded(ofOtherSession, 1);
  const edits: TokenPart = {
    sub: 'bob',
    sid: stranger.sid,
    jti: stranger.jti,
    gen: 1,
    session_type: 'SHORT',
    token_type: claims.token_type === 'access' ? 'refresh' : 'access',
    exp: Number(claims.exp) + 1,
    iat: Number(claims.iat) + 1,
    admin: true,
  };
  const edit = (change: TokenPart) => withSignatureOf(token(header, { ...claims, ...change }, UNSIGNED), genuine);
  const text = JSON.stringify(claims);
  return [
    ...Object.entries(edits).map(([name, value]): Forgery => [`${name} edited`, edit({ [name]: value })]),
    ['a claim twice', withSignatureOf(token(header, text.replace('{', '{"sub":"bob",'), UNSIGNED), genuine)],
    ['white space in the claims', withSignatureOf(token(header, `${text} `, UNSIGNED), genuine)],
    ['the signature of another token', withSignatureOf(genuine, ofOtherSession)],
    ['the header of another', `${encode({ ...header, typ: 'x' })}.${genuine.split('.').slice(1).join('.')}`],
  ];
}

/** Session types that are not configured, but could have existed earlier. */
const GONE_TYPES = ['GONE', 'ALL', '', '__proto__'];

/** Tokens that are signed with the server's own key, as a leaked key or a bug could produce. */
function brokenClaims({ genuine, server }: Loot): Forgery[] {
  const [header, claims] = [decoded(genuine, 0), decoded(genuine, 1)];
  const now = Math.floor(Date.now() / 1000);
  const texts: unknown[] = [undefined, null, 7, true, ['x'], { x: 'x' }];
  const numbers: unknown[] = [undefined, null, '9999999999', true, [9999999999], {}];
  const issued = 'issuer' in server.jwt;
  const broken: Record<string, unknown[]> = {
    // A refresh token without expiry belongs to a permanent session. The row decides.
    exp: [...numbers.slice(1), 0.5, now - 10.5],
    gen: [...numbers, 1.5, -1, 1e300, 2 ** 31],
    sid: texts,
    jti: texts,
    session_type: texts,
    token_type: [...texts, '', 'ACCESS', 'REFRESH', 'sliding', claims.token_type === 'access' ? 'refresh' : 'access'],
    sub: texts.filter((value) => value !== 7),
    ...(claims.token_type === 'access' && {
      exp: [...numbers, -1, 0, 0.5, now - 10, now - 10.5],
      iat: numbers,
      nbf: [now + 60, 'x', null, [0], true],
      session_type: [...texts, ...GONE_TYPES],
    }),
    ...(issued && {
      iss: [undefined, null, '', 'https://us.example.evil', 'https://US.example', ['https://other.example'], 7],
      aud: [undefined, null, '', 'ap', 'apps', 'app,site', [], ['other'], 7, { app: true }],
    }),
  };
  const text = JSON.stringify(claims);
  return [
    ...Object.entries(broken).flatMap(([name, values]) =>
      values.map((value): Forgery => [
        `${name}: ${JSON.stringify(value)}`,
        token(header, { ...claims, [name]: value }, server.sign),
      ]),
    ),
    ['exp is infinite', token(header, text.replace(/"exp":\d+/, '"exp":1e999'), server.sign)],
    ...['', 'null', '[]', '"x"', '1', '{', '{}', 'x'].map((body): Forgery => [
      `the claims ${JSON.stringify(body)}`,
      token(header, body, server.sign),
    ]),
    // The library encodes each part only once, so it never signs such a token.
    ['the claims encoded twice', token(header, encode(claims), server.sign)],
  ];
}

function brokenTexts({ genuine, ofOtherType }: Loot): Forgery[] {
  const [header, claims, signature] = genuine.split('.');
  const bytes = Buffer.from(signature, 'base64url');
  const signed = (other: Buffer) => `${header}.${claims}.${other.toString('base64url')}`;
  return [
    ['of the other type', ofOtherType],
    ['truncated by one', genuine.slice(0, -1)],
    ['truncated by half', genuine.slice(0, genuine.length / 2)],
    ['without its first character', genuine.slice(1)],
    ['no signature', `${header}.${claims}.`],
    ['two parts', `${header}.${claims}`],
    ['one part', header],
    ['no header', `.${claims}.${signature}`],
    ['no claims', `${header}..${signature}`],
    ['dots', '..'],
    ['five parts', `${genuine}.x.y`],
    ['a last dot', `${genuine}.`],
    ['a first dot', `.${genuine}`],
    ['the signature twice', `${genuine}.${signature}`],
    ['one bit of the signature', signed(Buffer.from([bytes[0] ^ 1, ...bytes.subarray(1)]))],
    ['a longer signature', signed(Buffer.concat([bytes, Buffer.alloc(1)]))],
    ['the signature reversed', signed(Buffer.from(bytes).reverse())],
    ['a signature of zeros', signed(Buffer.alloc(bytes.length))],
    ['a psychic signature', signed(Buffer.alloc(64))],
    ['a psychic signature in DER', signed(Buffer.from('3006020100020100', 'hex'))],
    ['a signature of ones', signed(Buffer.alloc(bytes.length, 255))],
    ['a random signature', signed(randomBytes(bytes.length))],
    ['padded', `${genuine}=`],
    ['padded within', `${header}=.${claims}.${signature}`],
    ['a foreign character', `${header}.${claims}.${signature.slice(0, -1)}!`],
    ['a foreign character in the header', `${header}*.${claims}.${signature}`],
    ['quoted', `"${genuine}"`],
    ['upper case', genuine.toUpperCase()],
    ['encoded twice', encode(genuine)],
    ['per cent', encodeURIComponent(genuine).replaceAll('.', '%2e')],
    ['as JSON', JSON.stringify({ protected: header, payload: claims, signature })],
    ['14 kB', 'x'.repeat(14_000)],
    ['14 kB in three parts', `${header}.${'x'.repeat(13_000)}.${signature}`],
    ['dots, 10 000', '.'.repeat(10_000)],
    ...['x', 'null', 'undefined', 'true', '0', '{}', '[object]', '__proto__'].map((text): Forgery => [
      `the word ${text}`,
      text,
    ]),
  ];
}

/** Forgeries that no header can carry. They are sent to the routes that take a token in the body. */
function brokenInBodies({ genuine }: Loot): Forgery[] {
  return [
    ['a space before', ` ${genuine}`],
    ['a line end behind', `${genuine}\n`],
    ['a line end within', `${genuine.slice(0, 20)}\n${genuine.slice(20)}`],
    ['with its scheme', `Bearer ${genuine}`],
    ['a lone surrogate', `${genuine}\ud800`],
    ['full width', genuine.replace('.', '．')],
    ['90 kB', 'x'.repeat(90_000)],
    ['90 kB in three parts', `${genuine.split('.')[0]}.${'x'.repeat(89_000)}.x`],
    ['dots, 90 000', '.'.repeat(90_000)],
  ];
}

const forgeries = (loot: Loot): Forgery[] =>
  [forgedAlgorithms, confused, forgedHeaders, editedClaims, brokenClaims, brokenTexts].flatMap((make) => make(loot));

const summary = ({ status, body, headers }: Answer) =>
  [status, body.code, headers.get('www-authenticate')].filter((part) => part !== null && part !== undefined).join(' ');

onEachDatabaseAndAdapter((databaseName, adapter) => {
  // The keys of a server do not depend on its database or its adapter.
  const isFirst = databaseName === selectedDatabases()[0] && adapter === 'express';
  const servers = SERVERS.filter(({ name }) => name === 'HS256' || isFirst);

  describe.each(servers)('forgeries against $name', (server) => {
    let app: TestApp;
    let keyServer: Server;
    let keySetAsked = 0;
    let alice: Awaited<ReturnType<TestApp['login']>>;
    let other: typeof alice;
    const loot = {} as Record<'access' | 'refresh', Loot>;

    beforeAll(async () => {
      keyServer = createServer((_request, response) => {
        keySetAsked++;
        response.end(JSON.stringify({ keys: [{ ...foreignRsa.publicKey.export({ format: 'jwk' }), kid: 'x' }] }));
      }).listen(0, '127.0.0.1');
      // Without rotation, the same token can be forged again and again.
      const options = { jwt: server.jwt, policies: DJANGO_SHORT_AND_LONG };
      app = await startApp({ databaseName, adapter, options, controllers: [MeController] });
      [alice, other] = [await app.login(), await app.login({ info: 'another' })];
      const keySet = `http://127.0.0.1:${(keyServer.address() as AddressInfo).port}/keys.json`;
      const { access, refresh } = alice;
      loot.access = { server, genuine: access, ofOtherType: refresh, ofOtherSession: other.access, keySet };
      loot.refresh = { server, genuine: refresh, ofOtherType: access, ofOtherSession: other.refresh, keySet };
    });
    afterAll(async () => {
      keyServer?.close();
      await app?.close();
    });

    const me = (token: string) => app.request('GET', '/me', { headers: bearer(token) });
    const refresh = (token: string, session = 'LONG') =>
      app.post('refresh/', { refresh: token, secret_key: SECRET_KEY, session });
    const logout = (token: string) => app.post('logout/', { refresh: token, secret_key: SECRET_KEY });
    const destroyAllOther = (token: string) =>
      app.post('destroyAllOther/', { session: 'ALL', refresh: token }, bearer(alice.access));

    /** Asserts that every forgery is refused, that nothing is stored or ended, and that the genuine tokens stay valid. */
    async function expectRefused(forged: Forgery[], ask: (token: string) => Promise<Answer>, expected: string) {
      const before = await rowsOf(app);
      const names = forged.map(([what]) => what);
      expect(new Set(names).size).toBe(names.length);
      const answers = await Promise.all(forged.map(async ([what, token]) => [what, summary(await ask(token))]));
      expect(Object.fromEntries(answers)).toEqual(Object.fromEntries(names.map((what) => [what, expected])));
      expect(await rowsOf(app)).toEqual(before);
      for (const { access, refresh: genuine } of [alice, other]) {
        expect(await me(access)).toMatchObject({ status: 200, body: { userId: 'alice' } });
        expect((await refresh(genuine)).status).toBe(200);
      }
      expect(keySetAsked).toBe(0);
    }

    test('are refused as access tokens', async () => {
      await expectRefused(forgeries(loot.access), me, '401 token_not_valid Bearer error="invalid_token"');
    });

    test('are refused on each route that takes an access token', async () => {
      const forged = [...forgedAlgorithms(loot.access).slice(0, 3), ...brokenTexts(loot.access).slice(0, 2)];
      const bodies = {
        list: { session: 'ALL' },
        destroy: { session_id: other.session_id },
        destroyAllOther: { session: 'ALL', refresh: alice.refresh },
      };
      for (const [route, body] of Object.entries(bodies)) {
        const ask = (token: string) => app.post(`${route}/`, body, bearer(token));
        await expectRefused(forged, ask, '401 token_not_valid Bearer error="invalid_token"');
      }
    });

    test('are ignored by routes that need no access token', async () => {
      const [forged] = forgeries(loot.access);
      const body = { refresh: alice.refresh, secret_key: SECRET_KEY, session: 'LONG' };
      for (const header of [`Bearer ${forged[1]}`, 'Bearer', 'Bearer a b', 'x']) {
        expect((await app.post('refresh/', body, { authorization: header })).status).toBe(200);
      }
    });

    test('are refused at refresh', async () => {
      const forged = [...forgeries(loot.refresh), ...brokenInBodies(loot.refresh)];
      await expectRefused(forged, (token) => refresh(token), '401 session_not_found');
    });

    test('are refused at logout and destroyAllOther', async () => {
      const forged = [forgedAlgorithms, confused, brokenTexts, brokenInBodies].flatMap((make) => make(loot.refresh));
      await expectRefused(forged, logout, '401 session_not_found');
      await expectRefused(forged, destroyAllOther, '401 token_not_valid');
    });

    test('do not change type, generation or expiry, even if signed with our key', async () => {
      const [header, claims] = [decoded(alice.refresh, 0), decoded(alice.refresh, 1)];
      const stated = (change: TokenPart) => token(header, { ...claims, ...change }, server.sign);
      const before = await rowsOf(app);
      for (const exp of [Number(claims.exp) + 9999, Number(claims.exp) - 9999, Number(claims.iat) + 9999, 1]) {
        const { status, body } = await refresh(stated({ exp }));
        expect([exp, status, Object.keys(body)]).toEqual([exp, 200, ['access']]);
        expect(decoded(body.access, 1).exp).toBeLessThan(Number(claims.exp));
      }
      for (const type of GONE_TYPES)
        expect(summary(await refresh(stated({ session_type: type })))).toBe('401 token_not_valid');
      expect(summary(await refresh(stated({ gen: 7 })))).toBe('401 session_not_found');
      expect(summary(await refresh(stated({ session_type: 'SHORT' }), 'SHORT'))).toBe('401 session_not_found');
      expect(await rowsOf(app)).toEqual(before);
    });
  });

  test('the authorization header must have a known scheme and exactly one token', async () => {
    const app = await startApp({ databaseName, adapter, controllers: [MeController] });
    const custom = await startApp({
      databaseName,
      adapter,
      controllers: [MeController],
      options: { jwt: { secret: SIGNING_SECRET, header: { name: 'X-Access-Token', schemes: ['Token'] } } },
    });
    const NONE = '401 not_authenticated Bearer realm="api"';
    const BAD = '401 bad_authorization_header Bearer realm="api"';
    try {
      const { access } = await app.login();
      const ask = async (header?: string) =>
        summary(await app.request('GET', '/me', { headers: header === undefined ? {} : { authorization: header } }));
      const answers: [string | undefined, string][] = [
        [undefined, NONE],
        ['', NONE],
        [access, NONE],
        ['Basic YWxpY2U6YWxpY2U=', NONE],
        ['Digest username="alice"', NONE],
        [`Token ${access}`, NONE],
        [`Bearer: ${access}`, NONE],
        [`Bearer=${access}`, NONE],
        [`Bearer,${access}`, NONE],
        [`Bearer\t${access}`, NONE],
        [`Bearer${access}`, NONE],
        [`"Bearer" ${access}`, NONE],
        ['Bearer', BAD],
        ['Bearer ', BAD],
        ['bearer', BAD],
        ['JWT', BAD],
        [`Bearer ${access} x`, BAD],
        [`Bearer Bearer ${access}`, BAD],
        [`Bearer ${access}, Bearer ${access}`, BAD],
        [`Bearer ${access}`, '200'],
        [`bearer ${access}`, '200'],
        [`BEARER ${access}`, '200'],
        [`bEaReR ${access}`, '200'],
        [`JWT ${access}`, '200'],
        [`jwt ${access}`, '200'],
        [`Bearer   ${access}`, '200'],
      ];
      for (const [header, answer] of answers) expect([header, await ask(header)]).toEqual([header, answer]);
      // Node itself refuses headers over 16 kB.
      expect(await ask(`Bearer ${'x'.repeat(100_000)}`)).toBe('431');

      const own = await custom.login();
      const askCustom = async (headers: Record<string, string>) =>
        summary(await custom.request('GET', '/me', { headers }));
      expect(await askCustom({ 'x-access-token': `Token ${own.access}` })).toBe('200');
      expect(await askCustom({ 'X-ACCESS-TOKEN': `token ${own.access}` })).toBe('200');
      expect(await askCustom({ 'x-access-token': `Bearer ${own.access}` })).toBe(NONE);
      expect(await askCustom({ 'x-access-token': 'Token' })).toBe(BAD);
      expect(await askCustom({ 'x-access-token': `Token ${own.access}, Token ${own.access}` })).toBe(BAD);
      expect(await askCustom(bearer(own.access))).toBe(NONE);
      expect(await askCustom({ authorization: `Token ${own.access}` })).toBe(NONE);
    } finally {
      await app.close();
      await custom.close();
    }
  });
});
