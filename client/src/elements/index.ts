import type { SessionClient } from '../types.js';
import { SessionAdminElement } from './admin.js';
import { SessionElement, type SessionElementsOptions } from './base.js';
import { SessionDevicesElement } from './devices.js';
import { SessionLoginElement } from './login.js';

export type { SessionElementsOptions } from './base.js';
export type { SessionTexts } from './texts.js';
export type { SessionAdminElement, SessionDevicesElement, SessionLoginElement };

declare global {
  interface HTMLElementTagNameMap {
    'session-login': SessionLoginElement;
    'session-devices': SessionDevicesElement;
    'session-admin': SessionAdminElement;
  }
}

const ELEMENTS = {
  'session-login': SessionLoginElement,
  'session-devices': SessionDevicesElement,
  'session-admin': SessionAdminElement,
} as const;

/**
 * Registers `<session-login>`, `<session-devices>` and `<session-admin>`, and connects them to the client. If you call it again,
 * elements that are connected from then on use the new client and options.
 */
export function defineSessionElements(client: SessionClient, options: SessionElementsOptions = {}): void {
  SessionElement.context = { client, options };
  for (const [name, constructor] of Object.entries(ELEMENTS)) {
    if (!customElements.get(name)) customElements.define(name, constructor);
  }
}
