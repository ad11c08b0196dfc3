import { session } from '../../session.js';

/** A route handler. It calls the API for the visitor too. */
export async function GET(request) {
  const me = await session(request.headers).json('/api/me');
  return me ? Response.json({ hello: me.user_id }) : new Response('Log in first', { status: 401 });
}
