/** The site: `npm run docs` builds it into `dist-docs/`. The build fails if a link between pages is dead. */
import { copyFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { defineConfig } from 'vitepress';
import { description, homepage, name, outside, repository, slugify, titleOf } from './pages.mjs';
import { SIDEBAR } from './sidebar.mjs';

export default defineConfig({
  title: name,
  description,
  outDir: '../dist-docs',
  cacheDir: '../node_modules/.cache/vitepress',
  cleanUrls: true,
  // Nothing is loaded from other servers, so that the site works offline.
  themeConfig: {
    nav: [
      { text: 'Start', link: '/getting-started' },
      { text: 'Configuration', link: '/configuration' },
      {
        text: 'API',
        // `scripts/api.mjs` writes these pages.
        items: [
          { text: 'Server', link: '/api/server/index.html', target: '_self' },
          { text: 'Client', link: '/api/client/index.html', target: '_self' },
        ],
      },
      { text: 'Troubleshooting', link: '/troubleshooting' },
      { text: 'Changelog', link: `${repository}/blob/HEAD/CHANGELOG.md` },
    ],
    sidebar: SIDEBAR.map(({ text, pages }) => ({
      text,
      items: Object.keys(pages).map((page) => ({ text: titleOf(page), link: pathOf(page) })),
    })),
    outline: [2, 3],
    search: { provider: 'local' },
    socialLinks: [{ icon: 'github', link: repository }],
  },
  markdown: {
    anchor: { slugify },
    config(md) {
      md.core.ruler.push('links-out-of-docs', ({ tokens }) => {
        for (const token of tokens.flatMap(({ children }) => children ?? [])) {
          const href = token.type === 'link_open' && outside(token.attrGet('href'));
          if (href) token.attrSet('href', href);
        }
      });
    },
  },
  buildEnd({ outDir, srcDir }) {
    writeFileSync(join(outDir, 'llms.txt'), llms());
    // The pages that it lists, as their authors wrote them, and the dashboard.
    for (const file of readdirSync(srcDir).filter((each) => /\.(md|json)$/.test(each)))
      copyFileSync(join(srcDir, file), join(outDir, file));
  },
});

function pathOf(page) {
  return page === 'index' ? '/' : `/${page}`;
}

/** The index for language models: https://llmstxt.org */
function llms() {
  const sections = SIDEBAR.map(({ text, pages }) => {
    const lines = Object.entries(pages).map(([page, content]) => `- [${titleOf(page)}](${page}.md): ${content}`);
    return `## ${text}\n\n${lines.join('\n')}\n`;
  });
  return `# ${name}\n\n> ${description}\n\n${homepage}\n\n${sections.join('\n')}`;
}
