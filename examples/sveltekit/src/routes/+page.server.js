import { redirect } from '@sveltejs/kit';

export async function load({ locals }) {
  const sessions = await locals.session.json('/api/session/sessions');
  if (!sessions) redirect(307, '/login');
  return { sessions };
}
