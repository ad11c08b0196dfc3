import { readFileSync } from 'node:fs';
import { applyDecorators, Controller, Get, Header, Headers, Inject, NotFoundException, Param } from '@nestjs/common';
import { ApiExcludeController } from '@nestjs/swagger';
import { readClientFiles } from './client-files.js';
import type { SessionOptions } from './session-options.js';

/** What the page needs to know. */
export interface PageOptions {
  readonly sessions: SessionOptions;
  /** The name of a user whose password the start prints. */
  readonly demoUser?: string | undefined;
  /** Whether there are administrators, who have a page of their own. */
  readonly hasAdmins: boolean;
}

/** The injection token of the page's options. */
export const PAGE_OPTIONS = 'PAGE_OPTIONS';

// Only the page's own files may run: the name of a device, such as `<script>`, is untrusted input.
const POLICY = [
  ...["default-src 'none'", "script-src 'self'", "style-src 'self'", 'img-src data:', "connect-src 'self'"],
  ...["base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"],
].join('; ');

const TEXTS = {
  en: {
    title: 'Your devices',
    administration: 'Administration',
    demo: (user: string) => `Demo user: ${user}. The terminal shows the password.`,
    noScript: 'This page needs JavaScript.',
  },
  de: {
    title: 'Ihre Geräte',
    administration: 'Administration',
    demo: (user: string) => `Demo-Benutzer: ${user}. Das Terminal zeigt das Passwort.`,
    noScript: 'Diese Seite benötigt JavaScript.',
  },
} as const;

/** A page in each language. */
type Pages = Readonly<Record<keyof typeof TEXTS, string>>;

const read = (name: string) => readFileSync(new URL(`./public/${name}`, import.meta.url), 'utf8');

/** A route that answers with a page in the language of the browser. */
const Page = (path?: string) =>
  applyDecorators(
    Get(path),
    Header('Content-Type', 'text/html; charset=utf-8'),
    Header('Content-Security-Policy', POLICY),
    Header('Referrer-Policy', 'no-referrer'),
    Header('X-Content-Type-Options', 'nosniff'),
    Header('Cache-Control', 'no-cache'),
    Header('Vary', 'Accept-Language'),
  );

/**
 * Serves the page "Your devices", and one for administrators. They consist of the client's elements, and have no build step of
 * their own.
 */
@Controller()
@ApiExcludeController()
export class PageController {
  private readonly pages: Pages;
  private readonly adminPages: Pages | undefined;
  private readonly style = read('page.css');
  private readonly script = read('page.js');
  private readonly client = readClientFiles();

  constructor(@Inject(PAGE_OPTIONS) options: PageOptions) {
    this.pages = render(read('index.html'), options);
    if (options.hasAdmins) this.adminPages = render(read('admin.html'), options);
  }

  @Page()
  index(@Headers('accept-language') languages?: string): string {
    return this.pages[languageOf(languages)];
  }

  @Page('admin')
  admin(@Headers('accept-language') languages?: string): string {
    if (!this.adminPages) throw new NotFoundException();
    return this.adminPages[languageOf(languages)];
  }

  @Get('page.css')
  @Header('Content-Type', 'text/css; charset=utf-8')
  @Header('X-Content-Type-Options', 'nosniff')
  @Header('Cache-Control', 'no-cache')
  css(): string {
    return this.style;
  }

  @Get('page.js')
  @Header('Content-Type', 'text/javascript; charset=utf-8')
  @Header('X-Content-Type-Options', 'nosniff')
  @Header('Cache-Control', 'no-cache')
  js(): string {
    return this.script;
  }

  @Get('client/:file')
  @Header('Content-Type', 'text/javascript; charset=utf-8')
  @Header('X-Content-Type-Options', 'nosniff')
  @Header('Cache-Control', 'no-cache')
  clientModule(@Param('file') file: string): string {
    return this.moduleAt(file);
  }

  @Get('client/elements/:file')
  @Header('Content-Type', 'text/javascript; charset=utf-8')
  @Header('X-Content-Type-Options', 'nosniff')
  @Header('Cache-Control', 'no-cache')
  elementsModule(@Param('file') file: string): string {
    return this.moduleAt(`elements/${file}`);
  }

  private moduleAt(path: string): string {
    const text = this.client.get(path);
    if (text === undefined) throw new NotFoundException();
    return text;
  }
}

function languageOf(accepted = ''): keyof typeof TEXTS {
  return /^\s*de\b/i.test(accepted) ? 'de' : 'en';
}

function render(template: string, options: PageOptions): Pages {
  return { en: renderIn('en', template, options), de: renderIn('de', template, options) };
}

function renderIn(lang: keyof typeof TEXTS, template: string, { sessions, demoUser }: PageOptions): string {
  const { path = 'api/session', policies, usernameField = 'username' } = sessions;
  const types = Object.keys(policies);
  const texts = TEXTS[lang];
  const values: Readonly<Record<string, string>> = {
    lang,
    url: `/${path.replace(/^\/+|\/+$/g, '')}`.replace(/^\/$/, ''),
    usernameField,
    type: types[0],
    title: texts.title,
    administration: texts.administration,
    types: types.join(' '),
    demo: demoUser === undefined ? '' : texts.demo(demoUser),
    noScript: texts.noScript,
  };
  const page = template.replaceAll(/\{\{(\w+)\}\}/g, (_, name: string) => escaped(values[name]));
  // With one type, there is nothing to choose.
  const remembered = types.length > 1 ? `remembered-session-type="${escaped(types.at(-1) as string)}"` : '';
  return page.replace('data-remembered', remembered);
}

function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('"', '&quot;').replaceAll('<', '&lt;');
}
