import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { type DynamicModule, UseGuards, Controller, Get } from '@nestjs/common';
import { type Attributes, context, metrics, trace } from '@opentelemetry/api';
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks';
import { type MeterProvider, MetricReader, MeterProvider as Provider } from '@opentelemetry/sdk-metrics';
import { BasicTracerProvider, InMemorySpanExporter, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-base';
import { JwtAuthGuard, SessionService } from 'nestjs-multisession';
import { DataSource } from 'typeorm';
import { bearer, SECRET_KEY, startApp, type TestApp } from '../helpers/app.js';
import { startInbox, until } from '../helpers/event-inbox.js';
import { folderForBlocks, importBlock } from '../helpers/code-block.js';
import { codeBlocks, readDocument, ROOT } from '../docs/documents.js';
import { onEachAdapter, onEachDatabase } from '../helpers/matrix.js';

class OnDemand extends MetricReader {
  protected override onForceFlush() {
    return Promise.resolve();
  }
  protected override onShutdown() {
    return Promise.resolve();
  }
}

@Controller('notes')
@UseGuards(JwtAuthGuard)
class NotesController {
  @Get()
  list() {
    return [];
  }
}

/** The points of a metric: attributes, and the value or the count. */
type Points = [attributes: Attributes, value: number][];

const TYPE = 'multisession.session.type';
const VERDICT = 'multisession.refresh.verdict';

onEachDatabase((databaseName) => {
  describe('with an SDK', () => {
    let app: TestApp;
    let reader: OnDemand;
    let provider: MeterProvider;
    const spans = new InMemorySpanExporter();
    const tracers = new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(spans)] });

    beforeAll(() => {
      trace.setGlobalTracerProvider(tracers);
      context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
    });
    afterAll(() => {
      trace.disable();
      context.disable();
    });
    beforeEach(async () => {
      reader = new OnDemand();
      provider = new Provider({ readers: [reader] });
      metrics.setGlobalMeterProvider(provider);
      app = await startApp({ databaseName, controllers: [NotesController] });
      spans.reset();
    });
    afterEach(async () => {
      await app.close();
      metrics.disable();
      await provider.shutdown();
    });

    const collected = async () => {
      const { resourceMetrics, errors } = await reader.collect();
      expect(errors).toEqual([]);
      return resourceMetrics.scopeMetrics.flatMap((scope) => scope.metrics);
    };
    const points = async (name: string): Promise<Points> => {
      const metric = (await collected()).find(({ descriptor }) => descriptor.name === name);
      return (metric?.dataPoints ?? []).map(({ attributes, value }) => [
        attributes,
        typeof value === 'number' ? value : value.count,
      ]);
    };
    const refresh = (token: string, session = 'LONG') =>
      app.post('refresh/', { refresh: token, session, secret_key: SECRET_KEY });

    test('measures logins by their outcome', async () => {
      await app.login();
      await app.login({ session: 'SHORT' });
      await app.post('login/', { username: 'alice', password: 'x', session: 'LONG', secret_key: SECRET_KEY });
      await app.get(SessionService).create('bob', { type: 'LONG' });
      expect(await points('multisession.login.duration')).toEqual([
        [{ [TYPE]: 'LONG' }, 1],
        [{ [TYPE]: 'SHORT' }, 1],
        [{ [TYPE]: 'LONG', 'error.type': 'invalid_credentials' }, 1],
      ]);
      expect(await points('multisession.session.created')).toEqual([
        [{ [TYPE]: 'LONG' }, 2],
        [{ [TYPE]: 'SHORT' }, 1],
      ]);
    });

    test('measures refreshes by verdict, and counts endings by reason', async () => {
      await app.close();
      const policies = { LONG: { refreshTokenLifetime: '30d', rotateRefreshTokens: true, reuseGrace: 0 } } as const;
      const options = {
        policies: { ...policies, SHORT: { refreshTokenLifetime: '1d', rotateRefreshTokens: false } },
      } as const;
      app = await startApp({ databaseName, options });
      const short = await app.login({ session: 'SHORT' });
      expect((await refresh(short.refresh, 'SHORT')).status).toBe(200);
      const { refresh: first } = await app.login();
      const second = (await refresh(first)).body.refresh as string;
      await refresh((await refresh(second)).body.refresh as string);
      expect((await refresh(first)).status).toBe(401);
      expect((await refresh('nonsense')).status).toBe(401);
      const { session_id: id } = await app.login();
      await app.get(SessionService).destroy(id, { reason: 'admin' });
      expect(await points('multisession.refresh.duration')).toEqual([
        [{ [VERDICT]: 'keep' }, 1],
        [{ [VERDICT]: 'rotate' }, 3],
        [{ [VERDICT]: 'reuse', 'error.type': 'token_not_valid' }, 1],
        [{ 'error.type': 'session_not_found' }, 1],
      ]);
      expect(await points('multisession.session.ended')).toEqual([
        [{ [TYPE]: 'LONG', 'multisession.session.end_reason': 'reuse' }, 1],
        [{ [TYPE]: 'LONG', 'multisession.session.end_reason': 'admin' }, 1],
      ]);
    });

    test('counts refusals of guards by code, and no request that passes', async () => {
      const { access } = await app.login();
      expect((await app.request('GET', '/notes', { headers: bearer(access) })).status).toBe(200);
      expect((await app.request('GET', '/notes', { headers: bearer('nonsense') })).status).toBe(401);
      for (let at = 0; at < 2; at++) await app.request('GET', '/notes');
      await app.post('login/', { username: 'alice', password: 'x', session: 'LONG', secret_key: 'wrong' });
      const guard = (name: string, code: string) => ({ 'multisession.guard.name': name, 'error.type': code });
      expect(await points('multisession.guard.refusals')).toEqual([
        [guard('JwtAuthGuard', 'token_not_valid'), 1],
        [guard('JwtAuthGuard', 'not_authenticated'), 2],
        [guard('SecretKeyGuard', 'secret_key_invalid'), 1],
      ]);
    });

    test('counts deliveries of durable events by outcome, and reports what waits', async () => {
      await app.close();
      const inbox = await startInbox();
      const secrets = `whsec_${Buffer.alloc(32, 1).toString('base64')}`;
      const webhook = { name: 'billing', url: inbox.url, secrets, allowPrivateNetwork: true };
      app = await startApp({ databaseName, options: { events: { webhooks: [webhook] } } });
      const to = { 'multisession.event.destination': 'webhook:billing' };
      const waiting = async () => (await points('multisession.event.pending')).map(([, value]) => value);
      await app.login();
      await until(async () => inbox.received.length === 1 && (await waiting()).join() === '0,0');
      inbox.status = 400;
      await app.login();
      await until(async () => (await points('multisession.event.deliveries')).length === 2);
      expect(await points('multisession.event.deliveries')).toEqual([
        [{ ...to, 'multisession.event.outcome': 'accepted' }, 1],
        [{ ...to, 'multisession.event.outcome': 'failed' }, 1],
      ]);
      expect(await points('multisession.event.pending')).toEqual([
        [{ 'multisession.event.destination': 'undistributed' }, 0],
        [to, 1],
      ]);
      expect(await points('multisession.event.dead_letters')).toEqual([[to, 0]]);
      const lag = async () => (await points('multisession.event.lag'))[0][1];
      const before = await lag();
      expect(before).toBeGreaterThan(0);
      await until(async () => (await lag()) > before);
      await inbox.close();
    });

    test('reports the size and the lag of the blacklist', async () => {
      const { session_id: id } = await app.login();
      await app.get(SessionService).destroy(id);
      expect(await points('multisession.blacklist.entries')).toEqual([[{}, 1]]);
      const [[, lag]] = await points('multisession.blacklist.lag');
      expect(lag).toBeGreaterThan(0);
      expect(lag).toBeLessThan(5);
      const lagLater = async () => (await points('multisession.blacklist.lag'))[0][1];
      expect(await lagLater()).toBeGreaterThan(lag);
      await app.close();
      // The SDK keeps showing the last value.
      expect(await lagLater()).toBe(await lagLater());
      app = await startApp({ databaseName });
    });

    test('creates a span for each login and refresh, and marks faults as errors but not refusals', async () => {
      const { refresh: token } = await app.login();
      await refresh(token);
      await refresh('nonsense');
      await app.get(DataSource).query('ALTER TABLE user_session RENAME TO away');
      expect((await refresh(token)).status).toBe(500);
      await app.get(DataSource).query('ALTER TABLE away RENAME TO user_session');
      expect(spans.getFinishedSpans().map(({ name, attributes, status }) => [name, attributes, status.code])).toEqual([
        ['multisession.login', { [TYPE]: 'LONG' }, 0],
        ['multisession.refresh', { [VERDICT]: 'rotate' }, 0],
        ['multisession.refresh', { 'error.type': 'session_not_found' }, 0],
        ['multisession.refresh', { 'error.type': 'server_fault' }, 2],
      ]);
    });

    test('makes spans of the application children of the operation', async () => {
      const original = app.users.findActive.bind(app.users);
      app.users.findActive = (userId) =>
        trace.getTracer('application').startActiveSpan('users', async (span) => {
          const user = await original(userId);
          span.end();
          return user;
        });
      await refresh((await app.login()).refresh);
      const [users, parent] = spans.getFinishedSpans().slice(1);
      expect([users.name, users.parentSpanContext?.spanId]).toEqual(['users', parent.spanContext().spanId]);
    });

    test('exposes no name, token, session or address', async () => {
      const { access, refresh: token, session_id: id } = await app.login();
      await refresh(token);
      await app.request('GET', '/notes', { headers: bearer(`${access}x`) });
      await app.post('login/', { username: 'mallory', password: 'guess', session: 'LONG', secret_key: SECRET_KEY });
      const seen = JSON.stringify([
        (await collected()).map(({ descriptor, dataPoints }) => [descriptor, dataPoints]),
        spans.getFinishedSpans().map(({ name, attributes, events, status }) => [name, attributes, events, status]),
      ]);
      expect(seen).toContain('invalid_credentials');
      for (const secret of [access, token, id, 'alice', 'mallory', 'guess', '127.0.0.1', SECRET_KEY]) {
        expect(seen).not.toContain(secret);
      }
    });
  });
});

onEachAdapter((databaseName, adapter) => {
  test('the module of the documents serves the metrics to Prometheus', async () => {
    const folder = folderForBlocks();
    try {
      const { MetricsModule } = (await importBlock(folder, 'docs/observability.md', 'metrics.module.ts')) as {
        MetricsModule: { start(): DynamicModule };
      };
      const imports = [MetricsModule.start()];
      const app = await startApp({ databaseName, adapter, imports });
      try {
        await app.login();
        await app.post('refresh/', { refresh: 'x', session: 'LONG', secret_key: SECRET_KEY });
        const { status, body, headers } = await app.request('GET', '/metrics');
        expect([status, headers.get('content-type')]).toEqual([200, 'text/plain; version=0.0.4; charset=utf-8']);
        expect(body).toMatch(/^multisession_session_created_total\{multisession_session_type="LONG"\S*\} 1$/m);
        expect(body).toMatch(/^multisession_refresh_duration_count\{error_type="session_not_found"\S*\} 1$/m);
        expect(body).toMatch(/^multisession_blacklist_entries(\{\S*\})? 0$/m);
      } finally {
        await app.close();
      }
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});

test('the sample application has the module of the documents', () => {
  const [block] = codeBlocks(['docs/observability.md']).filter(({ text }) => text.startsWith('// metrics.module.ts'));
  const file = readFileSync(join(ROOT, 'sample-app/src/metrics.module.ts'), 'utf8');
  expect(block.text.replace(/^.*\n/, '').trim()).toBe(file.trim());
});

test('the documents list every metric with its unit', () => {
  const source = readFileSync(join(ROOT, 'lib/telemetry/telemetry.ts'), 'utf8');
  const names = [...source.matchAll(/'(multisession\.[a-z._]+)', \{\s+unit: '([^']+)'/g)].map(([, ...found]) => found);
  expect(names).toHaveLength(9);
  for (const operation of ['login', 'refresh']) names.push([`multisession.${operation}.duration`, 's']);
  const document = readFileSync(join(ROOT, 'docs/observability.md'), 'utf8');
  for (const [name, unit] of names) expect(document).toMatch(new RegExp(`\`${name}\`\\s*\\|[^|]*\\| \`${unit}\` `));
});

test('the dashboard for Grafana uses metrics and attributes that the documents list', () => {
  const { panels } = JSON.parse(readFileSync(join(ROOT, 'docs/grafana-dashboard.json'), 'utf8')) as {
    panels: { title: string; targets: { expr: string }[] }[];
  };
  const rows = [...readDocument('docs/observability.md').matchAll(/^\| `(multisession\.[^`]+)`.*$/gm)];
  const inPrometheus = (name: string) => name.replaceAll('.', '_');
  const listed = new Map(
    rows.map(([row, name]) => [
      inPrometheus(name),
      [...row.matchAll(/`((?:multisession|error)\.[^`]+)`/g)].map(([, attribute]) => inPrometheus(attribute)).slice(1),
    ]),
  );
  const used = panels.flatMap(({ targets }) => targets.map(({ expr }) => expr));
  expect(used.length).toBeGreaterThan(15);
  for (const expression of used) {
    const names = [...expression.matchAll(/multisession_[a-z_]+(?=[{[)\s]|$)/g)].map(([name]) =>
      name.replace(/_(?:total|count|bucket)$/, ''),
    );
    const [metric] = names.filter((name) => listed.has(name));
    if (!metric) throw new Error(`no metric that the documents list: ${expression}`);
    const attributes = [...expression.matchAll(/(?:by \(|\{)([^)}]*?)[)=]/g)]
      .flatMap(([, inside]) => inside.split(', '))
      .filter((name) => !['le', 'instance'].includes(name));
    for (const attribute of attributes)
      expect([metric, listed.get(metric)]).toEqual([metric, expect.arrayContaining([attribute])]);
  }
});
