'use client';
import { useEffect, useState } from 'react';
import { sessionClient } from '../client.js';

export default function Login() {
  const [message, setMessage] = useState('');
  const [isReady, setReady] = useState(false);
  // This page is also what a visitor sees whose session could not be renewed on the server. The browser may still refresh.
  useEffect(() => {
    setReady(true);
    sessionClient()
      .refresh()
      .then(
        () => location.replace('/'),
        () => {},
      );
  }, []);
  const login = async (event) => {
    event.preventDefault();
    const { username, password } = Object.fromEntries(new FormData(event.target));
    try {
      await sessionClient().login({ username, password, session: 'LONG' });
      location.replace('/');
    } catch (error) {
      setMessage(error.message);
    }
  };
  return (
    <>
      <h1>Log in</h1>
      <form onSubmit={login}>
        <input name="username" />
        <input name="password" type="password" />
        {/* Without the script, the browser would put the password into the URL. */}
        <button disabled={!isReady}>Log in</button>
        <p role="alert">{message}</p>
      </form>
    </>
  );
}
