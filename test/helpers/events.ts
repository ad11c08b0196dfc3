import { SessionEvents, type SessionEventMap } from 'nestjs-multisession';
import type { TestApp } from './app.js';

type SessionEventName = keyof SessionEventMap;

const NAMES: SessionEventName[] = [
  'session.created',
  'session.refreshed',
  'session.ended',
  'session.revoked',
  'refresh.reused',
  'refresh.replayed',
  'refresh.recovered',
  'renewal.reused',
  'login.failed',
  'device.bound',
  'device.proof-failed',
  'login.new-device',
];

/** One event, as it was delivered. */
export interface RecordedEvent<N extends SessionEventName = SessionEventName> {
  name: N;
  event: SessionEventMap[N];
}

/**
 * Records every event of an application, in order.
 * @param recorded the list to add to. Default: a new one.
 * @returns the list, which grows
 */
export function recordEvents(app: TestApp, recorded: RecordedEvent[] = []): RecordedEvent[] {
  const events = app.get(SessionEvents);
  for (const name of NAMES) events.on(name, (event) => recorded.push({ name, event }));
  return recorded;
}
