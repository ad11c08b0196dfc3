/// <reference lib="dom" />
import { SessionProvider, useDevices, useSession, useSessionClient } from 'nestjs-multisession-client/react';
import { createElement as h, type ReactElement, StrictMode } from 'react';
import { hydrateRoot } from 'react-dom/client';
import { renderToString } from 'react-dom/server';
import { client, logIn } from './client.js';

function App(): ReactElement {
  const session = useSession();
  const own = useSessionClient();
  const { devices, error, reload, end, endOthers } = useDevices();
  const button = (id: string, work: () => Promise<unknown>) => h('button', { id, onClick: () => void work() }, id);
  return h(
    'main',
    null,
    h('output', { id: 'status' }, session.status),
    h('output', { id: 'error' }, error?.code),
    button('log-in', logIn),
    button('log-out', () => own.logout()),
    button('reload', reload),
    button('end-others', endOthers),
    h(
      'ul',
      null,
      devices?.map(({ id, current }) => h('li', { key: id }, current ? 'this' : button('end', () => end(id)))),
    ),
  );
}

const app = h(StrictMode, null, h(SessionProvider, { client }, h(App)));
const root = document.getElementById('app') as HTMLElement;
root.innerHTML = renderToString(app);
document.body.dataset.rendered = root.querySelector('#status')?.textContent ?? '';
hydrateRoot(root, app, {
  onRecoverableError: (error) => {
    throw error;
  },
});
