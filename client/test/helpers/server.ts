import { createServer, type Server } from 'node:http';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { Body, Controller, Get, HttpCode, Post, Res, ServiceUnavailableException, UseGuards } from '@nestjs/common';
import type { Response } from 'express';
import { CurrentSession, JwtAuthGuard, RequireRecentLogin, UnavailableError } from 'nestjs-multisession';
import type { SessionClientOptions } from 'nestjs-multisession-client';
import { SECRET_KEY, startApp, type TestApp, type TestAppOptions } from '../../../test/helpers/app.js';

/** Routes of an application, behind the guard. */
@Controller('notes')
export class NotesController {
  readonly written: unknown[] = [];
  /** How many requests are refused as unavailable from now on, by the library or by the application. */
  unavailable: { times: number; by: 'library' | 'application' } = { times: 0, by: 'library' };

  @Get()
  @UseGuards(JwtAuthGuard)
  read(@CurrentSession('userId') userId: string, @Res({ passthrough: true }) response: Response) {
    this.refuse(response);
    return { userId };
  }

  @Post()
  @HttpCode(200)
  @UseGuards(JwtAuthGuard)
  write(@Body() body: unknown, @Res({ passthrough: true }) response: Response) {
    this.refuse(response);
    this.written.push(body);
    return {};
  }

  @Get('secret')
  @UseGuards(JwtAuthGuard)
  @RequireRecentLogin('5s')
  secret() {
    return {};
  }

  private refuse(response: Response): void {
    if (this.unavailable.times-- <= 0) return;
    response.setHeader('Retry-After', '1');
    if (this.unavailable.by === 'library') throw new UnavailableError();
    throw new ServiceUnavailableException('busy');
  }
}

export const ALICE = { username: 'alice', password: 'alice-password', session: 'LONG' };
export const BOB = { username: 'bob', password: 'bob-password', session: 'LONG' };

/** Starts an application whose access tokens live for five minutes. */
export function startServer(more: Partial<TestAppOptions['options']> = {}): Promise<TestApp> {
  return startApp({
    controllers: [NotesController],
    options: {
      policies: {
        LONG: { refreshTokenLifetime: '30d', accessTokenLifetime: '5m', extendSession: 'every-refresh' },
      },
      cookies: { secure: 'auto' },
      ...more,
    },
  });
}

/** The options of a client of that application. */
export function optionsFor({ url }: Pick<TestApp, 'url'>, transport: 'body' | 'cookie'): SessionClientOptions {
  const secretKey = transport === 'body' ? SECRET_KEY : undefined;
  return { url: `${url}/api/session`, transport, secretKey };
}

/** A server of somebody else. It answers every request alike, and counts them. */
export async function startOtherServer(
  status: number,
  headers: Record<string, string>,
  body: string,
): Promise<{ url: string; requests: { headers: Record<string, unknown>; url: string }[]; server: Server }> {
  const requests: { headers: Record<string, unknown>; url: string }[] = [];
  const server = createServer((request, response) => {
    requests.push({ headers: request.headers, url: request.url ?? '' });
    request.resume();
    response.writeHead(status, headers).end(body);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, requests, server };
}

/**
 * Waits until a condition holds.
 * @throws after twenty seconds
 */
export async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  const giveUp = performance.now() + 20_000;
  while (!(await holds())) {
    if (performance.now() > giveUp) throw new Error(`This did not happen in 20 s: ${String(holds)}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
