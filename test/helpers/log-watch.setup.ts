import { inspect } from 'node:util';
import { afterAll, expect } from '@jest/globals';
import { Logger, type LoggerService, type LogLevel } from '@nestjs/common';
import { watch } from './log-watch.js';

/**
 * Checks in each end-to-end suite that no secret is logged. It records what is logged at any level, whichever logger the suite
 * sets, and every secret that is sent over HTTP. When the suite ends, it searches the one for the other.
 */
const LEVELS = ['log', 'error', 'warn', 'debug', 'verbose', 'fatal'] as const satisfies LogLevel[];
const undo: (() => void)[] = [];

/** Replaces a method until the suite ends. */
function replace<T extends object, K extends keyof T>(owner: T, name: K, make: (original: T[K]) => T[K]): void {
  const original = owner[name];
  owner[name] = make(original);
  undo.push(() => (owner[name] = original));
}

const printed = (parts: unknown[]) => parts.map((part) => (typeof part === 'string' ? part : inspect(part))).join(' ');

/** A logger that records every level, and passes everything on to the suite's own logger. */
function recorder(given: unknown): LoggerService {
  const own =
    given !== null && typeof given === 'object' && !Array.isArray(given) ? (given as LoggerService) : undefined;
  const level =
    (name: LogLevel) =>
    (message: unknown, ...rest: unknown[]) => {
      watch.text(`logger, ${name}`, printed([message, ...rest]));
      own?.[name]?.(message, ...rest);
    };
  return Object.fromEntries(LEVELS.map((name) => [name, level(name)])) as unknown as LoggerService;
}

function watchLogs(): void {
  replace(Logger, 'overrideLogger', (original) => (given) => original.call(Logger, recorder(given)));
  Logger.overrideLogger(false);
  for (const name of ['debug', 'error', 'info', 'log', 'trace', 'warn'] as const) {
    replace(console, name, (original) => (...parts: unknown[]) => {
      watch.text(`console.${name}`, printed(parts));
      original.apply(console, parts);
    });
  }
  for (const name of ['stdout', 'stderr'] as const) {
    replace(process[name], 'write', (original) => (chunk: Uint8Array | string, ...rest: any[]) => {
      watch.text(name, String(chunk));
      return original.call(process[name], chunk, ...rest);
    });
  }
}

function watchRequests(): void {
  replace(globalThis, 'fetch', (original) => async (input, init = {}) => {
    const answer = await original(input, init);
    const isStream = answer.headers.get('content-type')?.startsWith('text/event-stream');
    watch.exchange({
      method: init.method ?? 'GET',
      url: input instanceof Request ? input.url : input.toString(),
      headers: new Headers(init.headers),
      body: typeof init.body === 'string' || init.body instanceof URLSearchParams ? String(init.body) : '',
      status: answer.status,
      location: answer.headers.get('location'),
      answer: isStream ? '' : await answer.clone().text(),
    });
    return answer;
  });
}

if (expect.getState().testPath?.includes('/test/e2e/')) {
  watchLogs();
  watchRequests();
  afterAll(() => {
    undo.reverse().forEach((restore) => restore());
    expect(watch.leaks()).toEqual([]);
  });
}
