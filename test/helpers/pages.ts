/// <reference lib="dom" />
import { Controller, Get, Header, HttpCode, Module, Post, UseGuards } from '@nestjs/common';
import { type OnGatewayConnection, SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import { CurrentSession, JwtAuthGuard } from 'nestjs-multisession';
import type { Page } from 'playwright-core';

/** How often a note was written. */
export const notes = { written: 0 };

/** A page of the application, and guarded routes that its script calls. */
@Controller()
export class PagesController {
  @Get('page')
  @Header('Content-Type', 'text/html')
  page() {
    return '<!doctype html><title>the application</title>';
  }

  @Get('notes')
  @UseGuards(JwtAuthGuard)
  list(@CurrentSession('userId') userId: string) {
    return { userId };
  }

  @Post('notes')
  @HttpCode(200)
  @UseGuards(JwtAuthGuard)
  write(@CurrentSession('userId') userId: string) {
    notes.written++;
    return { userId };
  }
}

/** Writes a note for each message. */
@WebSocketGateway()
@UseGuards(JwtAuthGuard)
class NotesGateway implements OnGatewayConnection {
  handleConnection(client: { request?: unknown }, request: unknown) {
    client.request = request;
  }

  @SubscribeMessage('write')
  write(@CurrentSession('userId') userId: string) {
    notes.written++;
    return { event: 'written', data: { userId } };
  }
}

@Module({ providers: [NotesGateway] })
export class NotesModule {}

/** The part of an answer that page script can read. If the browser blocks the request, only `error` is set. */
export interface Fetched {
  status?: number;
  body?: any;
  error?: string;
}

export interface PageRequest {
  url: string;
  body?: object;
  headers?: Record<string, string>;
  method?: string;
  mode?: 'cors' | 'no-cors';
}

/** Sends a request from the page's own script, with the cookies that the browser has for the URL. */
export function fetchFrom(page: Page, request: PageRequest): Promise<Fetched> {
  return page.evaluate(async ({ url, body, headers, method = 'POST', mode = 'cors' }) => {
    try {
      const json = mode === 'cors' ? 'application/json' : 'text/plain';
      const response = await fetch(url, {
        method,
        mode,
        credentials: 'include',
        headers: { ...(body && { 'content-type': json }), ...headers },
        body: body && JSON.stringify(body),
      });
      const text = await response.text();
      return { status: response.status, body: text.startsWith('{') ? JSON.parse(text) : text };
    } catch (error) {
      return { error: (error as Error).name };
    }
  }, request);
}

/** Sends a message over a socket from the page's own script, and returns the answer. */
export function writeOverSocket(page: Page, url: string): Promise<unknown> {
  return page.evaluate(
    (at) =>
      new Promise<unknown>((resolve, reject) => {
        const socket = new WebSocket(at);
        socket.onopen = () => socket.send(JSON.stringify({ event: 'write' }));
        socket.onmessage = ({ data }) => resolve(JSON.parse(String(data)));
        socket.onerror = () => reject(new Error('the socket was not opened'));
      }),
    url.replace(/^http/, 'ws'),
  );
}
