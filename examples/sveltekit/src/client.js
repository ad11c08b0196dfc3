import { createSessionClient } from 'nestjs-multisession-client';

let client;

/** One client per browser. There is none on the server. */
export const sessionClient = () => (client ??= createSessionClient({ url: '/api/session', transport: 'cookie' }));
