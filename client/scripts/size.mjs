/** Bundles parts of the client as an application does, and fails if one is larger than its limit: `npm run client:size`. */
import { join } from 'node:path';
import { brotliCompressSync, gzipSync } from 'node:zlib';
import { build } from 'esbuild';

const client = join(import.meta.dirname, '..');

/** Code, and the most bytes that it may have with Brotli, in which servers send it to browsers: 5 kB. */
const PARTS = {
  'the core': ["export { createSessionClient, SessionError } from './src/index.ts';", 5 * 1024],
};

for (const [name, [contents, limit]] of Object.entries(PARTS)) {
  const { outputFiles, metafile } = await build({
    stdin: { contents, resolveDir: client, loader: 'ts' },
    bundle: true,
    minify: true,
    format: 'esm',
    target: 'es2022',
    write: false,
    // What is loaded on demand does not count.
    splitting: true,
    // A hash in the name of a chunk would change the size of the core whenever the chunk changes.
    chunkNames: '[name]',
    outdir: client,
    metafile: true,
    legalComments: 'none',
  });
  const code = outputFiles[0].contents;
  const size = brotliCompressSync(code).length;
  console.log(
    `${name}: ${size} bytes with Brotli, of at most ${limit} (${gzipSync(code, { level: 9 }).length} with gzip)`,
  );
  if (process.argv.includes('--files'))
    for (const [file, { bytesInOutput }] of Object.entries(Object.values(metafile.outputs)[0].inputs))
      console.log(`  ${bytesInOutput} ${file}`);
  if (size > limit) process.exitCode = 1;
}
