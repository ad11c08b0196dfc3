import { describe, expect, test } from '@jest/globals';
import { createSessionClient, type SessionState } from 'nestjs-multisession-client';
import { defineSessionElements } from 'nestjs-multisession-client/elements';
import { SessionProvider, useDevices, useSession } from 'nestjs-multisession-client/react';
import { createElement as h } from 'react';
import { renderToString } from 'react-dom/server';

describe('on a server that renders pages', () => {
  test('the elements can be imported, although there is no HTMLElement', () => {
    expect(globalThis).not.toHaveProperty('HTMLElement');
    expect(defineSessionElements).toBeInstanceOf(Function);
  });

  test('React renders the state loading and no devices, as a browser does that has read its storage and hydrates', () => {
    const client = createSessionClient({ url: 'http://127.0.0.1:1/api/session', transport: 'body' });
    const known: SessionState = { status: 'anonymous' };
    const App = () => h('p', null, useSession().status, ' ', typeof useDevices().devices);
    const page = h(SessionProvider, { client: { ...client, getSnapshot: () => known } }, h(App));
    expect(renderToString(page)).toBe('<p>loading<!-- --> <!-- -->undefined</p>');
    client.close();
  });

  test('React says what is missing if there is no provider', () => {
    const App = () => h('p', null, useSession().status);
    expect(() => renderToString(h(App))).toThrow('There is no SessionProvider above this component.');
  });
});
