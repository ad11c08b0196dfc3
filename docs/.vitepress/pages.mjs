/** Reads the pages of the site from their files. */
import { readFileSync } from 'node:fs';
import { join, posix } from 'node:path';

const DOCS = join(import.meta.dirname, '..');
const manifest = JSON.parse(readFileSync(join(DOCS, '../package.json'), 'utf8'));

export const { description, homepage, name } = manifest;
/** The address of the repository. `package.json` is the only place that names it. */
export const repository = manifest.repository.url.replace(/^git\+|\.git$/g, '');

/** The anchor of a heading, as GitHub makes it, so that a link works in both places. */
export function slugify(heading) {
  return heading
    .trim()
    .toLowerCase()
    .replace(/[^\p{L}\p{N} _-]/gu, '')
    .replaceAll(' ', '-');
}

/** The title of a page: its first heading. */
export function titleOf(page) {
  const [, title] = /^# (.+)$/m.exec(readFileSync(join(DOCS, `${page}.md`), 'utf8')) ?? [];
  if (!title) throw new Error(`docs/${page}.md has no title`);
  return title.replaceAll('`', '');
}

/** Leads a link out of `docs/` to the repository. Returns undefined for any other link. */
export function outside(href) {
  if (!href.startsWith('../')) return undefined;
  return `${repository}/blob/HEAD/${posix.normalize(posix.join('docs', href))}`;
}
