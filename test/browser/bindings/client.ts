/// <reference lib="dom" />
import { createSessionClient, type SessionClient } from 'nestjs-multisession-client';

/** The client of the small applications in this folder. Each shows the same state, and has the same buttons. */
export const client: SessionClient = createSessionClient({ url: '/api/session', transport: transport() });

export const logIn = (): Promise<void> =>
  client.login({ username: 'alice', password: 'alice-demo-password', session: 'LONG' });

function transport(): 'cookie' | 'body' {
  return new URLSearchParams(location.search).get('transport') === 'body' ? 'body' : 'cookie';
}
