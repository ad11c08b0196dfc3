import { Logger } from '@nestjs/common';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { bindingOf, type SenderProof } from '../../lib/session/binding.js';
import { DeviceKeys } from '../../lib/session/device-keys.js';
import { SessionPolicies } from '../../lib/session/policies.js';
import type { PolicyValues } from '../../lib/session/policy.js';
import { currentTokenOf } from '../../lib/session/refresh-store.js';
import type { SessionEntity } from '../../lib/session/session.entity.js';
import { createDatabase, type TestDatabase } from '../helpers/databases.js';
import { onEachDatabase } from '../helpers/matrix.js';
import { insertRow, newJti, newRow, NO_GRACE, startProcesses, type TestProcess } from './process.js';

const proofOf = (letter: string): SenderProof => ({ kind: 'dbsc', thumbprint: letter.repeat(43) });
const OWN = proofOf('A');
const OTHER = proofOf('B');
const JWK = { kty: 'EC', crv: 'P-256', x: 'x', y: 'y' };
const REQUIRED: PolicyValues = { ...NO_GRACE, bindBefore: 120_000 };
const ROUNDS = 20;

const next = (proof?: SenderProof, binds = false) => ({ jti: newJti(), kid: 'another-key', proof, binds });

onEachDatabase((name) => {
  let testDatabase: TestDatabase;
  let processes: TestProcess[];
  let { refreshStore, store } = {} as TestProcess;

  const insert = async (more: Partial<SessionEntity> = {}) => {
    const row = newRow('alice', { transport: 'cookie', ...more });
    await insertRow(processes[0], row);
    return row;
  };
  const found = (row: SessionEntity) => store.find(row.id);
  /** The keys of a process whose policy binds sessions. */
  const keysOf = ({ database, refreshStore: judged, endings, policies }: TestProcess) => {
    const bindingPolicies = new SessionPolicies(
      new Map([['LONG', { ...policies.named('LONG').config, binding: 'prefer' as const }]]),
      Infinity,
      100,
    );
    return new DeviceKeys(database, judged, bindingPolicies, endings);
  };

  beforeAll(async () => {
    Logger.overrideLogger(false);
    testDatabase = await createDatabase(name);
    processes = await startProcesses(testDatabase, 2);
    ({ refreshStore, store } = processes[0]);
    await Promise.all(processes.map((process) => process.poller.poll()));
  });
  afterAll(async () => {
    for (const process of processes ?? []) await process.close();
    await testDatabase?.drop();
  });

  describe.each([
    [
      'rotate',
      (row: SessionEntity, proof?: SenderProof, values = NO_GRACE) =>
        refreshStore.rotate(currentTokenOf(row), next(proof), values),
    ],
    [
      'recover',
      (row: SessionEntity, proof?: SenderProof, values = NO_GRACE) => refreshStore.recover(row, next(proof), values),
    ],
    [
      'touch',
      (row: SessionEntity, proof?: SenderProof, values = NO_GRACE) =>
        refreshStore.touch(currentTokenOf(row), { proof }, values),
    ],
    [
      'slide',
      (row: SessionEntity, proof?: SenderProof, values = NO_GRACE) =>
        refreshStore.slide(currentTokenOf(row), { proof }, { ...values, touchInterval: 0 }),
    ],
  ] as const)('%s', (_, refresh) => {
    const generation = { generation: 1, parentGeneration: 0, parentJti: newJti() };

    test('changes a bound row only with its proof', async () => {
      const row = await insert({ ...generation, binding: bindingOf(OWN) });
      for (const proof of [undefined, OTHER, { ...OWN, kind: 'dpop' as const }])
        expect(await refresh(row, proof)).toBeNull();
      expect(await found(row)).toEqual(row);
      expect(await refresh(row, OWN)).toMatchObject({ id: row.id });
    });

    test('changes an unbound row under `require` only within the window, or with a proof of the pending key', async () => {
      const past = new Date(Date.now() - 180_000);
      expect(await refresh(await insert(generation), undefined, REQUIRED)).not.toBeNull();
      expect(await refresh(await insert({ ...generation, createdAt: past }), undefined, NO_GRACE)).not.toBeNull();
      const late = await insert({ ...generation, createdAt: past, pendingBinding: bindingOf(OWN) });
      for (const proof of [undefined, OTHER]) expect(await refresh(late, proof, REQUIRED)).toBeNull();
      expect(await refresh(late, OWN, REQUIRED)).not.toBeNull();
    });
  });

  test('a first proof binds the row with the pending key, and no other', async () => {
    for (const refresh of [
      (row: SessionEntity, proof: SenderProof) => refreshStore.rotate(currentTokenOf(row), next(proof, true), NO_GRACE),
      (row: SessionEntity, proof: SenderProof) =>
        refreshStore.touch(currentTokenOf(row), { proof, binds: true }, NO_GRACE),
    ]) {
      const row = await insert({ pendingBinding: bindingOf(OWN), bindingKey: JWK });
      expect(await refresh(row, OTHER)).toBeNull();
      expect(await refresh(row, OWN)).toMatchObject({ binding: bindingOf(OWN) });
      expect(await found(row)).toMatchObject({ binding: bindingOf(OWN), bindingKey: JWK });
    }
  });

  test('of a first proof and a refresh without one, both at once, the second never succeeds after the first', async () => {
    let lost = 0;
    for (let round = 0; round < ROUNDS; round++) {
      const row = await insert({ pendingBinding: bindingOf(OWN), bindingKey: JWK });
      const [proven, thief] = await Promise.all([
        processes[0].refreshStore.rotate(currentTokenOf(row), next(OWN, true), NO_GRACE),
        processes[1].refreshStore.rotate(currentTokenOf(row), next(), NO_GRACE),
      ]);
      // Exactly one of them begins the next generation.
      expect([proven, thief].filter((winner) => winner !== null)).toHaveLength(1);
      const after = await found(row);
      expect(after?.binding).toBe(proven ? bindingOf(OWN) : null);
      if (!after || !proven) continue;
      lost++;
      expect(await refreshStore.rotate(currentTokenOf(after), next(), NO_GRACE)).toBeNull();
    }
    expect(lost).toBeGreaterThan(0);
  });

  test('of two keys registered at once, at most one is accepted, and the session ends', async () => {
    const [own, other] = processes.map(keysOf);
    for (let round = 0; round < ROUNDS; round++) {
      const row = await insert();
      const results = await Promise.all([
        own.register(row.id, { thumbprint: OWN.thumbprint, jwk: JWK }),
        other.register(row.id, { thumbprint: OTHER.thumbprint, jwk: JWK }),
      ]);
      expect(results.filter(Boolean).length).toBeLessThanOrEqual(1);
      expect(await found(row)).toBeNull();
    }
  });

  test('of the same key registered twice at once, both are accepted', async () => {
    const [own, again] = processes.map(keysOf);
    for (let round = 0; round < ROUNDS; round++) {
      const row = await insert();
      const key = { thumbprint: OWN.thumbprint, jwk: JWK };
      expect(await Promise.all([own.register(row.id, key), again.register(row.id, key)])).toEqual([true, true]);
      expect(await found(row)).toMatchObject({ binding: null, pendingBinding: bindingOf(OWN), bindingKey: JWK });
    }
  });
});
