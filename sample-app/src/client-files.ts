import { readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';

/** The folders of the built client whose modules a page may load. */
const FOLDERS = ['', 'elements/'];

/**
 * Reads the modules of the built client, by their paths such as `elements/index.js`. The page can load only these, whatever path
 * a request names.
 *
 * @throws if the client has not been built
 */
export function readClientFiles(): ReadonlyMap<string, string> {
  const root = dirname(createRequire(import.meta.url).resolve('nestjs-multisession-client/package.json'));
  return new Map(
    FOLDERS.flatMap((folder) =>
      filesOf(join(root, 'dist', folder)).map((name) => [
        `${folder}${name}`,
        readFileSync(join(root, 'dist', folder, name), 'utf8'),
      ]),
    ),
  );
}

function filesOf(folder: string): string[] {
  try {
    return readdirSync(folder).filter((name) => name.endsWith('.js'));
  } catch (error) {
    throw new Error(`the client is not built: run "npm run build:client"; ${(error as Error).message}`, {
      cause: error,
    });
  }
}
