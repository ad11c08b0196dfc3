import { readFileSync } from 'node:fs';
import { Controller, Get, Header, Inject } from '@nestjs/common';
import { ApiExcludeController } from '@nestjs/swagger';
import type { SessionOptions } from './session-options.js';

/** The injection token of the options that the page needs. */
export const PAGE_OPTIONS = 'PAGE_OPTIONS';

// Only the page's own files may run: the name of a device, such as `<script>`, is untrusted input.
const POLICY = [
  ...["default-src 'none'", "script-src 'self'", "style-src 'self'", 'img-src data:', "connect-src 'self'"],
  ...["base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"],
].join('; ');

const read = (name: string) => readFileSync(new URL(`./public/${name}`, import.meta.url), 'utf8');

/** Serves the page "Your devices". It has no build step and uses the routes of the library with cookies. */
@Controller()
@ApiExcludeController()
export class PageController {
  private readonly page: string;
  private readonly style = read('page.css');
  private readonly script = read('page.js');

  constructor(@Inject(PAGE_OPTIONS) { path = 'api/session', policies, usernameField = 'username' }: SessionOptions) {
    const settings = {
      path: `/${path.replace(/^\/+|\/+$/g, '')}`.replace(/^\/$/, ''),
      types: Object.keys(policies),
      usernameField,
    };
    this.page = read('index.html').replace('{{settings}}', () => escaped(JSON.stringify(settings)));
  }

  @Get()
  @Header('Content-Type', 'text/html; charset=utf-8')
  @Header('Content-Security-Policy', POLICY)
  @Header('Referrer-Policy', 'no-referrer')
  @Header('X-Content-Type-Options', 'nosniff')
  @Header('Cache-Control', 'no-cache')
  index(): string {
    return this.page;
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
}

function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('"', '&quot;').replaceAll('<', '&lt;');
}
