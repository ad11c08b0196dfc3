import { afterEach, describe, expect, test } from '@jest/globals';
import type { NestExpressApplication } from '@nestjs/platform-express';
import { MultiSessionPassportModule } from 'nestjs-multisession/passport';
import { Controller, Get, UseGuards } from '@nestjs/common';
import { AuthGuard } from '@nestjs/passport';
import { CurrentSession } from 'nestjs-multisession';
import { SECRET_KEY, startApp, type TestApp, type TestAppOptions } from '../helpers/app.js';
import { ProvingClient } from '../helpers/dpop.js';
import { WhoAmI } from '../helpers/who-am-i.js';

@Controller('passport')
@UseGuards(AuthGuard('jwt'))
class PassportController {
  @Get()
  whoami(@CurrentSession('userId') userId: string) {
    return { userId };
  }
}

const POLICIES = { LONG: { refreshTokenLifetime: '30d', binding: 'prefer' } } as const;
const LOGIN = { username: 'alice', password: 'alice-password', secret_key: SECRET_KEY, session: 'LONG' };
const FORWARDED = { 'x-forwarded-proto': 'https', 'x-forwarded-host': 'api.example' };

describe('the URL that a proof names', () => {
  let app: TestApp;
  const start = async (given: TestAppOptions = {}) => {
    const { options, ...more } = given;
    app = await startApp({ controllers: [WhoAmI], ...more, options: { policies: POLICIES, ...options } });
  };
  afterEach(() => app.close());
  const statusFor = async (origin: string, headers: Record<string, string> = {}) => {
    const client = new ProvingClient(app, undefined, origin);
    const login = await client.send('POST', '/api/session/login/', { body: LOGIN, headers });
    if (login.status !== 200) return login.status;
    return (await client.send('GET', '/me', { token: login.body.access as string, headers })).status;
  };

  test('is below `publicOrigin`, if that is set', async () => {
    await start({ options: { publicOrigin: ['https://api.example', 'https://other.example/app/'] } });
    expect(await statusFor('https://api.example')).toBe(200);
    expect(await statusFor(app.url)).toBe(400);
    expect(await statusFor('https://evil.example', { 'x-forwarded-host': 'evil.example' })).toBe(400);
  });

  test('is what the proxy says, only if Express trusts it', async () => {
    await start({ configure: (nest) => void (nest as NestExpressApplication).set('trust proxy', 'loopback') });
    expect(await statusFor('https://api.example', FORWARDED)).toBe(200);
    expect(await statusFor(app.url, FORWARDED)).toBe(400);
    await app.close();
    await start();
    expect(await statusFor('https://api.example', FORWARDED)).toBe(400);
    expect(await statusFor(app.url, FORWARDED)).toBe(200);
  });

  test('is checked by the strategy of Passport too', async () => {
    await start({ controllers: [PassportController], imports: [MultiSessionPassportModule.forRoot()] });
    const client = new ProvingClient(app);
    const { access } = (await client.post('login/', LOGIN)).body as { access: string };
    const get = (headers: Record<string, string>) => app.request('GET', '/passport', { headers });
    const headers = client.headers('GET', '/passport', access);
    expect(await get(headers)).toMatchObject({ status: 200, body: { userId: 'alice' } });
    expect(await get({ authorization: `Bearer ${access}` })).toMatchObject({ status: 401 });
    expect((await get({ authorization: `DPoP ${access}` })).status).not.toBe(200);
    expect((await get(headers)).status).not.toBe(200);
  });
});
