import {
  createContext,
  createElement,
  type ReactElement,
  type ReactNode,
  useContext,
  useEffect,
  useMemo,
  useSyncExternalStore,
} from 'react';
import { createDeviceList, type DeviceList, type DeviceListState } from './device-list.js';
import type { SessionClient, SessionState } from './types.js';

const ClientContext = createContext<SessionClient | undefined>(undefined);

/** What a server renders, and a browser before it has read its storage. */
const LOADING: SessionState = { status: 'loading' };
const NO_DEVICES: DeviceListState = {};

/** The properties of `SessionProvider`. */
export interface SessionProviderProps {
  readonly client: SessionClient;
  readonly children?: ReactNode;
}

/** Gives the client to the components below it. Create the client once, outside of your components. */
export function SessionProvider({ client, children }: SessionProviderProps): ReactElement {
  return createElement(ClientContext.Provider, { value: client }, children);
}

/**
 * Returns the client of the nearest `SessionProvider`.
 *
 * @throws Error if there is none
 */
export function useSessionClient(): SessionClient {
  const client = useContext(ClientContext);
  if (client) return client;
  throw new Error(
    'There is no SessionProvider above this component. Wrap your application in <SessionProvider client={…}>.',
  );
}

/**
 * Returns the state of the session, and renders again after each change. On a server, and while React hydrates, it is `loading`.
 */
export function useSession(): SessionState {
  const client = useSessionClient();
  return useSyncExternalStore(client.subscribe, client.getSnapshot, () => LOADING);
}

/** What `useDevices` returns. */
export interface Devices extends DeviceListState, Pick<DeviceList, 'reload' | 'end' | 'endOthers'> {}

/** Lists the user's sessions. It loads the list when the component mounts and when a session starts or ends. */
export function useDevices(): Devices {
  const client = useSessionClient();
  const list = useMemo(() => createDeviceList(client), [client]);
  const state = useSyncExternalStore(list.subscribe, list.getSnapshot, () => NO_DEVICES);
  const session = useSession();
  const sessionId = session.status === 'authenticated' ? session.sessionId : undefined;
  useEffect(() => void list.reload(), [list, sessionId]);
  return useMemo(() => ({ ...state, reload: list.reload, end: list.end, endOthers: list.endOthers }), [state, list]);
}
