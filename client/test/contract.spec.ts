import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { DocumentBuilder, SwaggerModule } from '@nestjs/swagger';
import { JwtAuthGuard } from 'nestjs-multisession';
import { documentSessions } from 'nestjs-multisession/swagger';
import { ROOT } from '../../test/docs/documents.js';
import { startApp } from '../../test/helpers/app.js';
import { typesOf } from '../../test/helpers/openapi-types.js';

const PATH = join(ROOT, 'client/src/contract.ts');
const HEADER =
  '/** The types of the HTTP contract, generated from the server by `npm run client:types`. Do not edit them. */\n';

/** Generates the types from the OpenAPI document of the routes. */
async function generated(): Promise<string> {
  const app = await startApp({ options: { admin: { guard: JwtAuthGuard }, cookies: true } });
  try {
    documentSessions(undefined, { admin: true, cookies: true });
    const document = SwaggerModule.createDocument(app.app, new DocumentBuilder().build());
    const prettier = join(ROOT, 'node_modules/prettier/bin/prettier.cjs');
    return execFileSync(process.execPath, [prettier, '--stdin-filepath', PATH], {
      cwd: ROOT,
      input: HEADER + typesOf(document),
      encoding: 'utf8',
    });
  } finally {
    await app.close();
  }
}

describe("the client's types of the HTTP contract", () => {
  test('are those of the server; otherwise run `npm run client:types`', async () => {
    const types = await generated();
    if (process.env.UPDATE_CLIENT_TYPES) writeFileSync(PATH, types);
    expect(readFileSync(PATH, 'utf8')).toBe(types);
  });
});
