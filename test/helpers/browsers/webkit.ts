import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Readable } from 'node:stream';
import { until } from '../browser.js';
import type { LaunchOptions, TestBrowser } from './types.js';
import { descendants, freeze, mustExist } from './processes.js';
import { freePort } from '../free-port.js';

const DRIVER = process.env.WEBKIT_DRIVER ?? '/usr/bin/WebKitWebDriver';
const XVFB = process.env.XVFB ?? '/usr/bin/Xvfb';
const BROWSER =
  process.env.WEBKIT ??
  `/usr/lib/${process.arch === 'arm64' ? 'aarch64' : 'x86_64'}-linux-gnu/webkit2gtk-4.1/MiniBrowser`;

/** Launches WebKit's MiniBrowser on a screen in memory, driven by the W3C WebDriver protocol. */
export async function launchWebKit({ thirdPartyCookies }: LaunchOptions): Promise<TestBrowser> {
  const binary = mustExist(BROWSER, 'MiniBrowser of WebKit', 'webkit2gtk-driver', 'WEBKIT');
  const screen = await startScreen();
  const driver = await startDriver(screen.display);
  const args = ['--automation', `--cookies-policy=${thirdPartyCookies ? 'always' : 'no-third-party'}`];
  const stop = async () => {
    await end(driver.process);
    await end(screen.process);
  };
  const { sessionId } = (await driver
    .call('POST', '/session', {
      capabilities: { alwaysMatch: { acceptInsecureCerts: true, 'webkitgtk:browserOptions': { binary, args } } },
    })
    .catch((error: unknown) => stop().then(() => Promise.reject(error as Error)))) as { sessionId: string };
  const call = (method: string, path: string, body?: object) =>
    driver.call(method, `/session/${sessionId}${path}`, body);

  let last: Promise<unknown> = Promise.resolve();
  /** One after another, because a command is for the window to which the session has switched. */
  const inWindow = <Result>(handle: string, work: () => Promise<unknown>): Promise<Result> => {
    const result = last.then(async () => {
      await call('POST', '/window', { handle });
      return work();
    });
    last = result.catch(() => undefined);
    return result as Promise<Result>;
  };

  const first = (await call('GET', '/window')) as string;
  return {
    async open(url) {
      // A window and not a tab, because the driver cannot bring a tab to the front. From the first one, which is never closed.
      const { handle } = await inWindow<{ handle: string }>(first, () =>
        call('POST', '/window/new', { type: 'window' }),
      );
      const goto = (to: string) => inWindow<void>(handle, () => call('POST', '/url', { url: to }));
      await goto(url);
      return {
        goto,
        evaluate: (work, argument) => {
          const script = `return (${String(work)})(arguments[0])`;
          return inWindow(handle, () => call('POST', '/execute/sync', { script, args: [argument ?? null] }));
        },
        show: async () => {},
        close: () => inWindow(handle, () => call('DELETE', '/window')),
      };
    },
    freeze: () => freeze(descendants().filter(({ name }) => name === 'WebKitWebProces')),
    async close() {
      await call('DELETE', '').catch(() => undefined);
      await stop();
    },
  };
}

/** Starts an X server without a screen. It chooses a free display itself. */
async function startScreen() {
  const server = spawn(
    mustExist(XVFB, 'Xvfb', 'xvfb', 'XVFB'),
    ['-displayfd', '3', '-screen', '0', '1024x768x24', '-nolisten', 'tcp'],
    { stdio: ['ignore', 'ignore', 'ignore', 'pipe'] },
  );
  const failed = once(server, 'exit').then(([code]) => {
    throw new Error(`Xvfb ended with code ${code}`);
  });
  failed.catch(() => undefined);
  const [display] = (await Promise.race([once(server.stdio[3] as Readable, 'data'), failed])) as [Buffer];
  return { process: server, display: `:${display.toString().trim()}` };
}

async function startDriver(display: string) {
  const port = await freePort();
  const child = spawn(mustExist(DRIVER, 'WebKitWebDriver', 'webkit2gtk-driver', 'WEBKIT_DRIVER'), [`--port=${port}`], {
    env: { ...process.env, DISPLAY: display, WEBKIT_DISABLE_COMPOSITING_MODE: '1', NO_AT_BRIDGE: '1' },
    stdio: 'ignore',
  });
  const call = async (method: string, path: string, body?: object): Promise<unknown> => {
    const response = await fetch(`http://127.0.0.1:${port}${path}`, { method, body: body && JSON.stringify(body) });
    const { value } = (await response.json()) as { value: unknown };
    if (!response.ok) throw new Error(`${method} ${path}: ${JSON.stringify(value)}`);
    return value;
  };
  await until(() => call('GET', '/status').catch(() => undefined), 60);
  return { process: child, call };
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill();
  await once(child, 'exit');
}
