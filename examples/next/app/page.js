import { headers } from 'next/headers';
import { redirect } from 'next/navigation';
import { session } from '../session.js';
import { Logout } from './logout.js';

export default async function Page() {
  const sessions = await session(await headers()).json('/api/session/sessions');
  if (!sessions) redirect('/login');
  return (
    <>
      <h1>Your devices</h1>
      <ul>
        {sessions.map(({ id, browser }) => (
          <li key={id}>{browser?.name ?? 'Unknown device'}</li>
        ))}
      </ul>
      <Logout />
    </>
  );
}
