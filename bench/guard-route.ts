import {
  type CanActivate,
  Controller,
  Get,
  type INestApplication,
  Module,
  type ModuleMetadata,
  Req,
  type Type,
  UseGuards,
} from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { ExpressAdapter } from '@nestjs/platform-express';
import { FastifyAdapter, type NestFastifyApplication } from '@nestjs/platform-fastify';
import type { RequestHandler } from 'express';

export type AdapterName = 'express' | 'fastify';

/** Headers that authenticate a request. */
export type Credentials = Readonly<Record<string, string>>;

/** The callers of a guarded route. */
export interface Callers {
  /** The user whom all credentials belong to. */
  readonly userId: string;
  /** Credentials that the guard must accept, one per session. */
  readonly credentials: readonly Credentials[];
  /** Credentials of an ended session; absent if the guard has no sessions. */
  readonly ended?: Credentials;
}

/** An application with one route, `GET /me`, behind one kind of guard. */
export interface GuardedRoute {
  readonly metadata: ModuleMetadata;
  /** Middleware in front of the whole application. */
  readonly middleware?: RequestHandler;
  /** Logs users in. Called when the application is listening. */
  callers(app: INestApplication): Promise<Callers>;
  /** Releases resources that do not belong to the application. */
  close?(): Promise<void>;
}

/** Number of sessions in a measurement. */
export const SESSIONS = 20;

export interface GuardedRequest {
  user?: { userId: string };
  headers: { authorization?: string; cookie?: string };
}

/** Creates a controller that answers the user's id, or `nobody` if no guard set one. */
export function controllerWith(guard?: Type<CanActivate>): Type {
  @Controller()
  class MeController {
    @Get('me')
    me(@Req() request: GuardedRequest) {
      return { user_id: request.user?.userId ?? 'nobody' };
    }
  }
  if (guard) UseGuards(guard)(MeController);
  return MeController;
}

export const bearer = (token: string): Credentials => ({ authorization: `Bearer ${token}` });

/** Returns the cookies of a response as a browser sends them back. */
export function cookiesOf(headers: Headers): Credentials {
  const pairs = headers.getSetCookie().map((cookie) => cookie.split(';')[0]);
  return { cookie: pairs.join('; ') };
}

/** Starts the application and waits until it accepts requests. */
export async function listen(
  { metadata, middleware }: GuardedRoute,
  adapter: AdapterName,
): Promise<{ app: INestApplication; url: string }> {
  @Module(metadata)
  class AppModule {}

  // With `abortOnError`, Nest would exit the process and report the reason to the logger, which is off.
  const options = { logger: false, abortOnError: false } as const;
  const app =
    adapter === 'fastify'
      ? await NestFactory.create<NestFastifyApplication>(AppModule, new FastifyAdapter(), options)
      : await NestFactory.create(AppModule, new ExpressAdapter(), options);
  if (middleware) app.use(middleware);
  await app.listen(0, '127.0.0.1');
  return { app, url: `${await app.getUrl()}/me` };
}
