/** Writes the reference of both packages' exports into `dist-docs/api/`, from their docstrings: part of `npm run docs`. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Application, OptionDefaults } from 'typedoc';
import { repository } from '../docs/.vitepress/pages.mjs';

const ROOT = join(import.meta.dirname, '..');

/** Folders of the packages, where their sources are, types that are generated, and where the references go. */
const PACKAGES = [
  { folder: '.', sources: './lib/', generated: [], out: 'server' },
  { folder: 'client', sources: './src/', generated: ['nestjs-multisession-client.ManagedSession'], out: 'client' },
];

for (const { folder, sources, generated, out } of PACKAGES) {
  const { name, version, exports } = JSON.parse(readFileSync(join(ROOT, folder, 'package.json'), 'utf8'));
  /** Names to import from, by their source files. */
  const entries = new Map(
    Object.entries(exports)
      .filter(([, { types }]) => types)
      .map(([path, { types }]) => [
        join(ROOT, folder, types.replace('./dist/', sources).replace(/\.d\.ts$/, '.ts')),
        join(name, path),
      ]),
  );
  const application = await Application.bootstrap({
    name: `${name} ${version}`,
    entryPoints: [...entries.keys()],
    tsconfig: join(ROOT, folder, 'tsconfig.build.json'),
    basePath: ROOT,
    readme: 'none',
    disableGit: true,
    sourceLinkTemplate: `${repository}/blob/HEAD/${join(folder, sources)}{path}#L{line}`,
    hideGenerator: true,
    excludePrivate: true,
    excludeProtected: true,
    requiredToBeDocumented: ['Class', 'Interface', 'TypeAlias', 'Variable'],
    intentionallyNotDocumented: generated,
    // The elements' events.
    blockTags: [...OptionDefaults.blockTags, '@fires'],
    validation: { notDocumented: true, notExported: false, invalidLink: true },
    treatValidationWarningsAsErrors: true,
    // `npm run typecheck` has found the errors of types.
    skipErrorChecking: true,
    logLevel: 'Warn',
  });
  const project = await application.convert();
  if (!project) throw new Error(`TypeDoc could not read ${name}`);
  for (const module of project.children ?? []) {
    const [{ fullFileName }] = module.sources ?? [{}];
    module.name = entries.get(fullFileName) ?? module.name;
  }
  application.validate(project);
  if (application.logger.hasErrors()) throw new Error(`the docstrings of ${name} are not complete`);
  await application.generateDocs(project, join(ROOT, 'dist-docs/api', out));
}
