import { rmSync } from 'node:fs';
import { afterAll, afterEach, describe, expect, test } from '@jest/globals';
import {
  type MultiSessionModuleOptions,
  SecurityReport,
  type SessionPolicyOptions,
  SHORT_AND_LONG,
} from 'nestjs-multisession';
import { readOptions } from '../../lib/engine/options.js';
import { overallTimeoutOf } from '../../lib/session/assurance.js';
import { bearer, SIGNING_SECRET, startApp, type TestApp } from '../helpers/app.js';
import { folderForBlocks, importBlock } from '../helpers/code-block.js';
import { ProvingClient } from '../helpers/dpop.js';
import { tableRows } from './documents.js';

const DOCUMENT = 'docs/choose-a-policy.md';
const LIST = '/api/session/sessions';
const ALICE = { username: 'alice', password: 'alice-password' };
type Preset = Pick<MultiSessionModuleOptions, 'policies' | 'cookies'>;

const folder = folderForBlocks();
const exportOf = async <T>(file: string, name: string) =>
  ((await importBlock(folder, DOCUMENT, file)) as Record<string, T>)[name];
const ofNist = async (name: string): Promise<Preset> => ({
  policies: { STAFF: await exportOf<SessionPolicyOptions>('nist.ts', name) },
});

/** The presets by their names in the first table of the document. */
const PRESETS: Record<string, () => Promise<Preset>> = {
  shop: () => exportOf('shop.ts', 'shop'),
  bank: () => exportOf('bank.ts', 'bank'),
  'back office': () => exportOf('back-office.ts', 'backOffice'),
  AAL1: () => ofNist('AAL1'),
  AAL2: () => ofNist('AAL2'),
  AAL3: () => ofNist('AAL3'),
  SHORT_AND_LONG: () => Promise.resolve({ policies: SHORT_AND_LONG }),
};

let app: TestApp | undefined;
afterEach(async () => {
  await app?.close();
  app = undefined;
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe.each(Object.entries(PRESETS))('the preset %s', (name, load) => {
  test('starts, serves each of its types, and meets what ASVS asks of the options', async () => {
    const preset = await load();
    app = await startApp({ options: { ...preset, secretKey: false } });
    for (const [session, policy] of Object.entries(preset.policies)) {
      const isBound = policy.binding === 'require';
      const client = isBound ? new ProvingClient(app) : app;
      const login = await client.post('login', { ...ALICE, session });
      expect([session, login.status]).toEqual([session, 200]);
      const refreshed = await client.post('refresh', { refresh: login.body.refresh, session });
      expect([session, refreshed.status]).toEqual([session, 200]);
      const token = String(refreshed.body.access);
      const list =
        client instanceof ProvingClient
          ? await client.send('GET', LIST, { token })
          : await client.request('GET', LIST, { headers: bearer(token) });
      expect([session, list.status]).toEqual([session, 200]);
    }
    expect(app.get(SecurityReport).notMet(2)).toEqual([]);
  });

  test('has the lifetimes of the table', async () => {
    const { policies } = await load();
    const row = tableRows(DOCUMENT, '# Choose a policy').find((each) => each.preset.includes(name));
    const options = { jwt: { secret: SIGNING_SECRET }, secretKey: false, policies } as const;
    const config = readOptions(options, Object.keys(policies)).policies;
    const longest = (times: number[]) => Math.max(...times);
    // The table is about browsers. The bank's app is beside it.
    const types = [...config].filter(([type]) => type !== 'APP').map(([, policy]) => policy);
    const inactivity = types.map(({ refreshTokenLifetime }) => refreshTokenLifetime);
    expect(timeIn(row?.['a new login after'])).toBe(longest(types.map(overallTimeoutOf)));
    expect(timeIn(row?.['without activity after'])).toBe(name === 'AAL1' ? Infinity : longest(inactivity));
  });
});

const UNITS: Record<string, number> = { minute: 60_000, hour: 3_600_000, day: 86_400_000 };

/** The last time that a cell names, in milliseconds. */
function timeIn(cell = ''): number {
  if (cell === 'no limit') return Infinity;
  const [, amount, unit] = /(\d+) (minute|hour|day)s?$/.exec(cell) ?? [];
  return Number(amount) * UNITS[unit];
}
