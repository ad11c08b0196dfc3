import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import type { IncomingHttpHeaders } from 'node:http';
import { request } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from '@jest/globals';
import { SHORT_AND_LONG } from 'nestjs-multisession';
import { ADAPTERS } from '../helpers/app.js';
import { selfSigned } from '../helpers/browser.js';
import { startSampleApp } from '../helpers/sample-app.js';

const folder = mkdtempSync(join(tmpdir(), 'sample-https-'));
afterAll(() => rmSync(folder, { recursive: true }));

function file(name: string, content: string): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
}

const { key, cert } = selfSigned();

/** Logs in as a page does. */
function logIn(url: string, user: object): Promise<{ status?: number; headers: IncomingHttpHeaders }> {
  return new Promise((resolve, reject) => {
    const headers = {
      'content-type': 'application/json',
      'x-session-transport': 'cookie',
      'sec-fetch-site': 'same-origin',
    };
    // The certificate names hosts below .test, and the application listens on an address.
    const options = { method: 'POST', headers, ca: cert, checkServerIdentity: () => undefined };
    const sent = request(`${url}/api/session/login/`, options, (answer) => {
      answer.resume();
      answer.on('end', () => resolve({ status: answer.statusCode, headers: answer.headers }));
    });
    sent.on('error', reject).end(JSON.stringify(user));
  });
}

test.each(ADAPTERS)(
  'the sample application serves HTTPS on %s, and binds sessions if the file says so',
  async (adapter) => {
    const policies = { LONG: { ...SHORT_AND_LONG.LONG, binding: 'prefer' } };
    const user = { username: 'ada', password: 'the password of ada', active: true };
    const app = await startSampleApp({
      HTTP_ADAPTER: adapter,
      TLS_CERT: file('cert.pem', cert),
      TLS_KEY: file('key.pem', key),
      SESSION_CONFIG: file('config.json', JSON.stringify({ policies })),
      DEMO_USERS: JSON.stringify([user]),
    });
    try {
      expect(app.url).toMatch(/^https:/);
      const { username, password } = user;
      const { status, headers } = await logIn(app.url, { username, password, session: 'LONG', info: 'a page' });
      expect(status).toBe(200);
      expect(headers['secure-session-registration']).toMatch(/^\(ES256 RS256\);path="\/api\/session\/dbsc\/register";/);
    } finally {
      await app.stop();
    }
  },
);
