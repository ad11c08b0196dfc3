import { Controller, Get, Post, UseGuards } from '@nestjs/common';
import { JwtAuthGuard, CurrentSession, RequireDeviceProof, SHORT_AND_LONG } from 'nestjs-multisession';
import { startApp, type TestApp, type TestAppOptions } from './app.js';
import type { Send } from './dbsc-browser.js';

/** Routes of an application, as pages of the tests call them. */
@Controller()
export class BoundRoutes {
  @Get('me')
  @UseGuards(JwtAuthGuard)
  me(@CurrentSession('sessionId') sessionId: string): { sessionId: string } {
    return { sessionId };
  }

  @Post('transfer')
  @RequireDeviceProof('1m')
  transfer(@CurrentSession('sessionId') sessionId: string): { sessionId: string } {
    return { sessionId };
  }
}

/** Starts an application that binds sessions to browsers. */
export function startBoundApp({ options, ...more }: TestAppOptions = {}): Promise<TestApp> {
  const binding = 'prefer' as const;
  return startApp({
    controllers: [BoundRoutes],
    ...more,
    options: {
      secretKey: false,
      cookies: true,
      policies: { LONG: { ...SHORT_AND_LONG.LONG, binding }, SHORT: { ...SHORT_AND_LONG.SHORT, binding } },
      ...options,
    },
  });
}

/** The network between a browser and an application. */
export const networkTo =
  (app: TestApp): Send =>
  async (method, path, headers, body) => {
    // On a busy machine, the server closes an idle connection just when the client uses it.
    const sent = { ...headers, connection: 'close' };
    const response = await fetch(app.url + path, { method, headers: sent, body, redirect: 'manual' });
    return { status: response.status, headers: response.headers, text: await response.text() };
  };

export const CREDENTIALS = { username: 'alice', password: 'alice-password', session: 'LONG', info: 'a test' };
export const LOGIN = '/api/session/login/';
export const REFRESH = '/api/session/refresh/';
export const LOGOUT = '/api/session/logout/';
