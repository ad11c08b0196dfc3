import Bowser from 'bowser';

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

/**
 * Parses a `User-Agent` header (RFC 9110 section 10.1.5). Never throws: unknown parts are null, and an unknown kind is
 * `other`.
 */
export function describeUserAgent(userAgent: string | null | undefined): UserAgentDescription {
  if (!userAgent) return UNKNOWN;
  const { browser, os, platform } = Bowser.parse(userAgent);
  return {
    browser: named(browser),
    os: named(os),
    kind: KINDS[platform.type ?? ''] ?? 'other',
  };
}

function named({ name, version }: { name?: string; version?: string }): UserAgentDescription['browser'] {
  return name ? { name, version: version ?? null } : null;
}
