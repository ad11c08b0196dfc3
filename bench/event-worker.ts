import 'reflect-metadata';
import { setTimeout as sleep } from 'node:timers/promises';
import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { SessionService } from 'nestjs-multisession';
import type { DataSourceOptions } from 'typeorm';
import { answerParent } from './child.js';
import { multiSessionImports } from './session-app.js';

export interface EventQuestion {
  /** Logins per second. Each is followed by a logout, so there are twice as many events. */
  readonly logins: number;
  readonly seconds: number;
}

export interface EventAnswer {
  /** The number of events of committed changes. */
  readonly events: number;
}

// events.ts starts this script twice on one database. Either process may deliver the events of both.
const [database, url, secret] = JSON.parse(process.argv[2]) as [DataSourceOptions, string, string];
const webhooks = [{ name: 'bench', url, secrets: secret, allowPrivateNetwork: true }];

@Module({ imports: multiSessionImports(database, {}, { events: { webhooks } }) })
class AppModule {}

const app = await NestFactory.createApplicationContext(AppModule, { logger: ['error', 'warn'] });
const sessions = app.get(SessionService);

/** Begins and ends sessions at a fixed pace, however long each of them takes. */
async function load({ logins, seconds }: EventQuestion): Promise<EventAnswer> {
  const begun = performance.now();
  const running: Promise<void>[] = [];
  for (let at = 0; at < logins * seconds; at++) {
    const early = begun + (at * 1000) / logins - performance.now();
    if (early > 0) await sleep(early);
    running.push(beginAndEnd(`user ${process.pid} ${at}`));
  }
  await Promise.all(running);
  return { events: 2 * running.length };
}

async function beginAndEnd(userId: string): Promise<void> {
  const { refresh } = await sessions.create(userId, { type: 'LONG' });
  await sessions.logout(refresh);
}

answerParent<EventQuestion, EventAnswer>(load, () => app.close());
