import type { OldToken, OldTokenReader } from './old-token.js';

const PERMANENT_TOKEN = /^[0-9a-f]{40}$/;

/** Reads the permanent tokens of drf-jwt-devices: 160 random bits without a signature, whose hash is in the alias. */
export class DeviceTokenReader implements OldTokenReader {
  readonly system = 'drf-jwt-devices';

  read(text: string): OldToken | undefined {
    return PERMANENT_TOKEN.test(text) ? { foundBy: { token: text }, tokenKey: text } : undefined;
  }
}
