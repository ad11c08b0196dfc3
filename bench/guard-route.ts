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

/** The headers by which a request says who sends it. */
export type Credentials = Readonly<Record<string, string>>;

/** Who may ask for a guarded route. */
export interface Callers {
  /** The user whom all the credentials speak for. */
  readonly userId: string;
  /** What the guard must let pass, of one session each. */
  readonly credentials: readonly Credentials[];
  /** Those of a session that has ended, where there are sessions. */
  readonly ended?: Credentials;
}

/** An application with one route, `GET /me`, behind one kind of guard. */
export interface GuardedRoute {
  readonly metadata: ModuleMetadata;
  /** What the whole application stands behind. */
  readonly middleware?: RequestHandler;
  /** Logs users in. The application listens by then. */
  callers(app: INestApplication): Promise<Callers>;
  /** Lets go of what is no part of the application. */
  close?(): Promise<void>;
}

/** How many sessions take part in a measurement. */
export const SESSIONS = 20;

export interface GuardedRequest {
  user?: { userId: string };
  headers: { authorization?: string; cookie?: string };
}

/** Answers the user's id: `nobody` where no guard found one. */
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

/** The cookies of an answer, as a browser sends them back. */
export function cookiesOf(headers: Headers): Credentials {
  const pairs = headers.getSetCookie().map((cookie) => cookie.split(';')[0]);
  return { cookie: pairs.join('; ') };
}

/** Starts the application, up to where it takes requests. */
export async function listen(
  { metadata, middleware }: GuardedRoute,
  adapter: AdapterName,
): Promise<{ app: INestApplication; url: string }> {
  @Module(metadata)
  class AppModule {}

  // Otherwise Nest would end the process, and say why to the logger that is not there.
  const options = { logger: false, abortOnError: false } as const;
  const app =
    adapter === 'fastify'
      ? await NestFactory.create<NestFastifyApplication>(AppModule, new FastifyAdapter(), options)
      : await NestFactory.create(AppModule, new ExpressAdapter(), options);
  if (middleware) app.use(middleware);
  await app.listen(0, '127.0.0.1');
  return { app, url: `${await app.getUrl()}/me` };
}
