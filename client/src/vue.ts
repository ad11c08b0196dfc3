import {
  inject,
  type InjectionKey,
  onScopeDispose,
  type Plugin,
  shallowReadonly,
  type ShallowRef,
  shallowRef,
  watch,
} from 'vue';
import { createDeviceList, type DeviceList, type DeviceListState } from './device-list.js';
import type { SessionClient, SessionState } from './types.js';

const CLIENT: InjectionKey<SessionClient> = Symbol('SessionClient');

/** Gives the client to all components: `app.use(sessionPlugin(client))`. */
export function sessionPlugin(client: SessionClient): Plugin {
  return { install: (app) => void app.provide(CLIENT, client) };
}

/**
 * Returns the client of the plugin. Call it in `setup`.
 *
 * @throws Error if the application does not use the plugin
 */
export function useSessionClient(): SessionClient {
  const client = inject(CLIENT, undefined);
  if (client) return client;
  throw new Error('The application has no session client. Call app.use(sessionPlugin(client)).');
}

/** Returns the state of the session. Call it in `setup`. */
export function useSession(): Readonly<ShallowRef<SessionState>> {
  const { subscribe, getSnapshot } = useSessionClient();
  return follow(subscribe, getSnapshot);
}

/** What `useDevices` returns. */
export interface Devices extends Pick<DeviceList, 'reload' | 'end' | 'endOthers'> {
  readonly state: Readonly<ShallowRef<DeviceListState>>;
}

/** Lists the user's sessions. It loads the list at once and when a session starts or ends. Call it in `setup`. */
export function useDevices(): Devices {
  const { subscribe, getSnapshot, ...actions } = createDeviceList(useSessionClient());
  const session = useSession();
  const sessionId = () => (session.value.status === 'authenticated' ? session.value.sessionId : undefined);
  watch(sessionId, () => void actions.reload(), { immediate: true });
  return { state: follow(subscribe, getSnapshot), ...actions };
}

/** Returns the value of a store, which follows it until the component unmounts. */
function follow<Value>(
  subscribe: (listener: () => void) => () => void,
  getSnapshot: () => Value,
): Readonly<ShallowRef<Value>> {
  const value = shallowRef(getSnapshot());
  onScopeDispose(subscribe(() => void (value.value = getSnapshot())));
  return shallowReadonly(value);
}
