// Not the default export: CommonJS without `esModuleInterop` cannot import it.
import { parse } from 'bowser';

/** The kind of device that a user agent claims to be. `other` if it cannot be recognized. */
export type DeviceKind = 'mobile' | 'tablet' | 'pc' | 'tv' | 'bot' | 'other';

/** The parts of a user agent. Show them to people, but base no decision on them: the client can send anything. */
export interface UserAgentDescription {
  readonly browser: { readonly name: string; readonly version: string | null } | null;
  readonly os: { readonly name: string; readonly version: string | null } | null;
  readonly kind: DeviceKind;
}

const KINDS: Readonly<Record<string, DeviceKind>> = {
  mobile: 'mobile',
  tablet: 'tablet',
  desktop: 'pc',
  tv: 'tv',
  bot: 'bot',
};
const UNKNOWN: UserAgentDescription = { browser: null, os: null, kind: 'other' };

/** The sessions in a list share few user agents, and parsing one takes as long as reading its row. */
const described = new Map<string, UserAgentDescription>();
const MAX_REMEMBERED = 1000;

/**
 * Parses a `User-Agent` header (RFC 9110 section 10.1.5). Never throws: unknown parts are null, and an unknown kind is
 * `other`.
 */
export function describeUserAgent(userAgent: string | null | undefined): UserAgentDescription {
  if (!userAgent) return UNKNOWN;
  let description = described.get(userAgent);
  if (!description) {
    description = parsed(userAgent);
    if (described.size >= MAX_REMEMBERED) described.clear();
    described.set(userAgent, description);
  }
  return description;
}

function parsed(userAgent: string): UserAgentDescription {
  const { browser, os, platform } = parse(userAgent);
  return {
    browser: named(browser),
    os: named(os),
    kind: KINDS[platform.type ?? ''] ?? 'other',
  };
}

function named({ name, version }: { name?: string; version?: string }): UserAgentDescription['browser'] {
  return name ? { name, version: version ?? null } : null;
}
