import { createHash, pbkdf2Sync } from 'node:crypto';
import { rmSync } from 'node:fs';
import { Controller, Get, Module, type Type, UseGuards } from '@nestjs/common';
import { afterAll, afterEach, describe, expect, test } from '@jest/globals';
import { hash } from '@node-rs/argon2';
import {
  type Credentials,
  CurrentSession,
  JwtAuthGuard,
  type SessionClaims,
  type UserAuthenticator,
} from 'nestjs-multisession';
import { type Answer, bearer, startApp, type TestApp, type TestAppOptions } from '../helpers/app.js';
import { folderForBlocks, importBlock } from '../helpers/code-block.js';
import { ASKS_FOR_COOKIES, cookieHeader, setCookies } from '../helpers/cookies.js';
import { codeBlocks, placeOf } from './documents.js';

/** Runs the code of the documents, and attacks what somebody gets who copies it. */
const folder = folderForBlocks();
afterAll(() => rmSync(folder, { recursive: true, force: true }));

let app: TestApp | undefined;
afterEach(async () => {
  await app?.close();
  app = undefined;
});

const OPEN = { secretKey: false } as const;

async function block<T>(document: string, file: string): Promise<T> {
  return (await importBlock(folder, document, file)) as T;
}

async function start(options: TestAppOptions): Promise<TestApp> {
  app = await startApp({ ...options, options: { ...OPEN, ...options.options } });
  return app;
}

@Controller('me')
@UseGuards(JwtAuthGuard)
class MeController {
  @Get()
  me(@CurrentSession() { userId, claims }: SessionClaims) {
    return { userId, claims };
  }
}

describe('every authenticator of the documents', () => {
  const HASH = hash('the right password');
  const users = [{ id: 'ada', username: 'ada', email: 'ada', role: 'user', roles: [], active: true, isActive: true }];

  /** A users table, whatever the example expects: it knows one user and her password. */
  const dependency = {
    headers: {},
    findOneBy: async ({ username, email }: Record<string, string>) => {
      const user = users.find((known) => known.username === (username ?? email));
      return user ? { ...user, passwordHash: await HASH, password: djangoHash('the right password') } : null;
    },
    verifyPassword: (username: string, password: string) =>
      Promise.resolve(users.find((user) => user.username === username && password === 'the right password') ?? null),
  };

  const examples = codeBlocks()
    .filter(({ language, text }) => language === 'ts' && /class \w+ extends UserAuthenticator\b/.test(text))
    .map((example) => [placeOf(example), example] as const);

  test('is found', () => expect(examples.length).toBeGreaterThan(4));

  test.each(examples)(
    '%s refuses a wrong password, and lets only the right one pass',
    async (_, { document, text }) => {
      const file = /^\/\/ ([\w./-]+\.ts)\n/.exec(text)?.[1];
      const name = /class (\w+) extends UserAuthenticator\b/.exec(text)?.[1];
      if (!file || !name) throw new Error('the example has no file name');
      // The README's quick start is run by a test of its own.
      if (!text.includes(`export class ${name}`)) return expect(document).toBe('README.md');
      // Other blocks of the document that this one imports.
      for (const [, other] of text.matchAll(/from '\.\/([\w./-]+)\.js'/g))
        await block(document, `${folderOf(file)}${other}.ts`);
      const classes = await block<Record<string, Type<UserAuthenticator>>>(document, file);
      const Authenticator = classes[name];
      const authenticator = new Authenticator(dependency);
      const given = (credentials: Partial<Credentials>) =>
        authenticator.authenticate({ username: 'ada', password: 'x', ...credentials }, {});
      const right = text.includes('analytical engine') ? 'analytical engine' : 'the right password';
      // This one leaves the query to its reader, and refuses everybody until then.
      const isOutline = file === 'tenant-users.ts';
      expect(await given({ password: right })).toEqual(isOutline ? null : expect.objectContaining({ id: 'ada' }));
      for (const password of ['x', '', `${right} `, right.toUpperCase(), 'undefined', '!'])
        expect(await given({ password })).toBeNull();
      expect(await given({ username: 'nobody', password: right })).toBeNull();
    },
  );

  function folderOf(file: string): string {
    return file.includes('/') ? file.slice(0, file.lastIndexOf('/') + 1) : '';
  }
});

test("Django's passwords (coming-from-django.md): only the right one passes, and gets a stronger hash", async () => {
  interface Check {
    readonly checkPassword: (password: string, stored: string | undefined) => Promise<string | null>;
  }
  const { checkPassword } = await block<Check>('docs/coming-from-django.md', 'check-password.ts');
  const stored = djangoHash('secret');
  for (const one of [stored, '!', '', undefined, stored.replace('sha256', 'sha512')])
    expect(await checkPassword('a guess', one)).toBeNull();
  for (const one of ['!', '', undefined]) expect(await checkPassword('', one)).toBeNull();
  const rehashed = await checkPassword('secret', stored);
  expect(rehashed).toMatch(/^argon2\$argon2id\$/);
  expect(await checkPassword('secret', rehashed as string)).toBe(rehashed);
  expect(await checkPassword('a guess', rehashed as string)).toBeNull();
});

describe('the team of a session (data-and-claims.md)', () => {
  interface Teams {
    Teams: Type;
    TeamController: Type;
  }

  test.each<[string, unknown]>([
    ['a team that the user is not in', 'board'],
    ['an object', { id: 'red' }],
    ['a list', ['red']],
    ['a number', 1],
    ['nothing', undefined],
    ['null', null],
    ['an object that looks like a string', { length: 3, toString: 'red' }],
  ])('%s does not become a claim', async (_, team) => {
    const { Teams, TeamController } = await block<Teams>('docs/data-and-claims.md', 'team.controller.ts');
    const isMember = (userId: string, given: string) => Promise.resolve(userId === 'alice' && given === 'red');
    const server = await start({
      controllers: [TeamController, MeController],
      providers: [{ provide: Teams, useValue: { isMember } }],
    });
    const { access } = await server.login();
    const choose = (body: object, token = access) => server.request('PUT', '/team', { body, headers: bearer(token) });
    expect((await choose({ team })).status).toBe(403);
    // Other members of the body do not become claims either.
    const chosen = await choose({ team: 'red', role: 'admin', sub: 'bob' });
    expect(chosen.status).toBe(200);
    const me = await server.request('GET', '/me', { headers: bearer(chosen.body.access as string) });
    expect(me.body).toMatchObject({ userId: 'alice', claims: { team: 'red' } });
    expect(Object.keys(me.body.claims as object)).not.toContain('role');
  });
});

describe('the login with an invitation (custom-flows.md)', () => {
  async function invitations() {
    const code = await block<Record<string, Type>>('docs/custom-flows.md', 'invitation-login.controller.ts');
    const { InvitationLoginController } = code;
    const [Invitations] = Reflect.getMetadata('design:paramtypes', InvitationLoginController) as Type[];
    const redeem = (given: unknown) => Promise.resolve(given === 'welcome' ? 'alice' : null);
    return start({
      options: { cookies: true },
      controllers: [InvitationLoginController, MeController],
      providers: [{ provide: Invitations, useValue: { redeem } }],
    });
  }
  const cookiesOf = (answer: Answer) =>
    cookieHeader(...setCookies(answer).map(({ name, value }) => [name, value] as [string, string]));

  test('another site can neither log a visitor in nor log a user out', async () => {
    const server = await invitations();
    const join = (headers: Record<string, string>) =>
      server.request('POST', '/invitations/login', { body: { code: 'welcome' }, headers });
    for (const headers of [{}, { ...ASKS_FOR_COOKIES, origin: 'https://evil.example', 'sec-fetch-site': 'cross-site' }])
      expect((await join(headers)).body.code).toBe('csrf_failed');
    const cookies = cookiesOf(await join(ASKS_FOR_COOKIES));
    const leave = (headers: Record<string, string>) =>
      server.request('POST', '/invitations/leave', { headers: { ...cookies, ...headers } });
    const me = () => server.request('GET', '/me', { headers: cookies });
    for (const headers of [
      {},
      { ...ASKS_FOR_COOKIES, origin: 'https://evil.example', 'sec-fetch-site': 'cross-site' },
    ]) {
      const refused = await leave(headers);
      expect(refused.body.code).toBe('csrf_failed');
      expect(setCookies(refused)).toEqual([]);
    }
    expect((await me()).status).toBe(200);
    // Leaving ends the session, so that a copy of the cookies is worth nothing.
    expect((await leave(ASKS_FOR_COOKIES)).status).toBe(200);
    expect((await me()).status).toBe(401);
    const refreshed = await server.request('POST', '/api/session/refresh', {
      body: { session: 'LONG' },
      headers: { ...cookies, ...ASKS_FOR_COOKIES },
    });
    expect(refreshed.status).toBe(401);
  });
});

describe('the guard of administrators (administration.md)', () => {
  test('lets no other user pass', async () => {
    const { AdministratorGuard } = await block<{ AdministratorGuard: Type }>(
      'docs/administration.md',
      'administrator.guard.ts',
    );
    @Module({ providers: [AdministratorGuard], exports: [AdministratorGuard] })
    class Guards {}
    const server = await start({
      options: { imports: [Guards], admin: { guard: [JwtAuthGuard, AdministratorGuard] } },
    });
    const { access } = await server.login();
    const asked = (headers: Record<string, string>) =>
      server.request('GET', '/api/session/admin/sessions', { headers });
    expect((await asked({})).status).toBe(401);
    expect((await asked(bearer(access))).status).toBe(403);
    const { SessionService } = await import('nestjs-multisession');
    const issued = (claims: object) =>
      server.get(SessionService).create('alice', { type: 'LONG', claims: { ...claims } });
    for (const role of ['user', 'Administrator', ['administrator'], { administrator: true }, true])
      expect((await asked(bearer((await issued({ role })).access))).status).toBe(403);
    expect((await asked(bearer((await issued({ role: 'administrator' })).access))).status).toBe(200);
  });
});

/** A hash of Django's default hasher. */
function djangoHash(password: string, iterations = 1000): string {
  const salt = createHash('sha256').update(password).digest('hex').slice(0, 16);
  const key = pbkdf2Sync(password, salt, iterations, 32, 'sha256').toString('base64');
  return `pbkdf2_sha256$${iterations}$${salt}$${key}`;
}
