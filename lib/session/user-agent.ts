import Bowser from 'bowser';

/** What kind of device a user agent says it is; `other` where it says nothing that is understood. */
export type DeviceKind = 'mobile' | 'tablet' | 'pc' | 'tv' | 'bot' | 'other';

/** What a user agent says of itself: the client's own word, for people to read. */
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

/** Reads a `User-Agent` header (RFC 9110 section 10.1.5). Never throws: what is not understood is null, and the kind `other`. */
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
