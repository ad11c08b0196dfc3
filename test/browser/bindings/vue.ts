/// <reference lib="dom" />
import { sessionPlugin, useDevices, useSession, useSessionClient } from 'nestjs-multisession-client/vue';
import { createApp, defineComponent, h } from 'vue';
import { client, logIn } from './client.js';

const App = defineComponent(() => {
  const session = useSession();
  const own = useSessionClient();
  const { state, reload, end, endOthers } = useDevices();
  const button = (id: string, work: () => Promise<unknown>) => h('button', { id, onClick: () => void work() }, id);
  return () =>
    h('main', [
      h('output', { id: 'status' }, session.value.status),
      h('output', { id: 'error' }, state.value.error?.code),
      button('log-in', logIn),
      button('log-out', () => own.logout()),
      button('reload', reload),
      button('end-others', endOthers),
      h(
        'ul',
        state.value.devices?.map(({ id, current }) =>
          h('li', { key: id }, current ? 'this' : [button('end', () => end(id))]),
        ),
      ),
    ]);
});

createApp(App).use(sessionPlugin(client)).mount('#app');
