import { join } from 'node:path';
import { build, type BuildOptions } from 'esbuild';
import type { Page } from 'playwright-core';

const ROOT = join(import.meta.dirname, '../..');

/** Bundles a module and what it imports for a browser. Aliases choose the version of a framework. */
export async function bundle(source: Pick<BuildOptions, 'entryPoints' | 'stdin' | 'alias'>): Promise<string> {
  const { outputFiles } = await build({
    ...source,
    absWorkingDir: ROOT,
    tsconfig: join(ROOT, 'tsconfig.json'),
    bundle: true,
    write: false,
    format: 'esm',
    target: 'es2022',
    jsx: 'automatic',
    define: { 'process.env.NODE_ENV': '"development"' },
    logLevel: 'silent',
  });
  return outputFiles[0].text;
}

/** Serves a page below `/app/`, whatever the origin. So a page can call the routes of a running application. */
export async function servePage(page: Page, body: string, script: () => string): Promise<void> {
  const html = `<!doctype html><html lang="en"><base href="/app/">${body}<script type="module" src="/app/main.js"></script>`;
  await page.route('**/app/**', (route) =>
    route.request().url().endsWith('/main.js')
      ? route.fulfill({ contentType: 'text/javascript', body: script() })
      : route.fulfill({ contentType: 'text/html', body: html }),
  );
}
