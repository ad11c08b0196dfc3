'use client';
import { useEffect, useRef, useState } from 'react';
import { sessionClient } from './client.js';

export function Logout() {
  const [isReady, setReady] = useState(false);
  const unsubscribe = useRef();
  // The session ends here if it ends in another tab or on the server.
  useEffect(() => {
    const hasEnded = () => ['anonymous', 'ended'].includes(sessionClient().getSnapshot().status);
    unsubscribe.current = sessionClient().subscribe(() => hasEnded() && location.replace('/login'));
    setReady(true);
    return unsubscribe.current;
  }, []);
  const logOut = async () => {
    // Wait for the server: the browser cancels the request if it leaves the page.
    unsubscribe.current();
    await sessionClient().logout();
    location.replace('/login');
  };
  return (
    <button id="logout" disabled={!isReady} onClick={logOut}>
      Log out
    </button>
  );
}
