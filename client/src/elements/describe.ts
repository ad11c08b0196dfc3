import type { ManagedSession, Session } from '../contract.js';
import type { Language } from './language.js';
import type { SessionTexts } from './texts.js';

/** The sessions of what looks like one device. */
export interface DeviceGroup {
  readonly key: string;
  /** In the order of the list: the current one first, then by last use. */
  readonly sessions: readonly ManagedSession[];
}

/**
 * Groups sessions by device. Without the name of a device, sessions of the same browser on the same system count as one device,
 * whatever their versions.
 */
export function groupByDevice(sessions: readonly ManagedSession[]): DeviceGroup[] {
  const groups = new Map<string, ManagedSession[]>();
  for (const session of sessions) {
    const key = deviceKey(session);
    const group = groups.get(key);
    if (group) group.push(session);
    else groups.set(key, [session]);
  }
  return [...groups].map(([key, members]) => ({ key, sessions: members }));
}

function deviceKey({ device, kind, browser, os, info }: ManagedSession): string {
  if (device) return JSON.stringify(['device', device, os?.name]);
  if (browser || os) return JSON.stringify(['browser', kind, browser?.name, os?.name]);
  return JSON.stringify(['info', kind, info]);
}

/** Returns the name of a session's device, such as "Pixel 9" or "Firefox 128 on Windows". */
export function nameOf(session: Session, texts: SessionTexts): string {
  return session.device || browserOf(session, texts) || session.info || texts.unknownDevice;
}

/** Returns the browser and the system as far as they are known, such as "Firefox 128 on Windows". */
export function browserOf({ browser, os }: Pick<Session, 'browser' | 'os'>, texts: SessionTexts): string | undefined {
  const version = browser?.version?.split('.')[0];
  const named = browser && [browser.name, version].filter(Boolean).join(' ');
  return named && os ? texts.browserOnSystem(named, os.name) : named || os?.name;
}

/** Returns one line about a session, such as "Last used 5 minutes ago · 203.0.113.7". */
export function metaOf(session: Session, isCurrent: boolean, language: Language): string {
  const { texts } = language;
  const used = isCurrent ? texts.activeNow : texts.lastUsed(ago(session.last_update, language));
  return [used, session.ip_address].filter(Boolean).join(' · ');
}

const UNITS = [
  ['day', 86_400],
  ['hour', 3600],
  ['minute', 60],
] as const;

/** Returns how long ago something was, such as "5 minutes ago". A clock that is slow shows "just now", and no time to come. */
export function ago(time: string, language: Language): string {
  return relative(Math.min(0, secondsUntil(time)), language);
}

/** Returns how long it takes until something happens, such as "in 29 days". */
export function until(time: string, language: Language): string {
  return relative(Math.max(60, secondsUntil(time)), language);
}

function secondsUntil(time: string): number {
  return (new Date(time).getTime() - Date.now()) / 1000;
}

function relative(seconds: number, { tag, texts }: Language): string {
  const unit = UNITS.find(([, length]) => Math.abs(seconds) >= length);
  if (!unit) return texts.justNow;
  return new Intl.RelativeTimeFormat(tag, { numeric: 'auto' }).format(Math.trunc(seconds / unit[1]), unit[0]);
}

/** Returns a date and time to the second, in the time zone of the browser. */
export function exactTime(time: string, { tag }: Language): string {
  return new Intl.DateTimeFormat(tag, { dateStyle: 'medium', timeStyle: 'medium' }).format(new Date(time));
}

/** Returns a duration in words, such as "42 seconds" or "2 minutes". It is rounded up. */
export function inWords(seconds: number, { tag }: Language): string {
  const [unit, length] = seconds < 120 ? (['second', 1] as const) : (['minute', 60] as const);
  return new Intl.NumberFormat(tag, { style: 'unit', unit, unitDisplay: 'long' }).format(Math.ceil(seconds / length));
}
