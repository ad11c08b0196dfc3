import { createSessionClient } from '/client/index.js';

const client = createSessionClient({ url: '/api/session', transport: 'cookie' });
const form = document.querySelector('form');

form.addEventListener('submit', async (event) => {
  event.preventDefault();
  const { username, password } = Object.fromEntries(new FormData(form));
  try {
    await client.login({ username, password, session: 'LONG' });
    location.replace('/');
  } catch (error) {
    form.querySelector('[role=alert]').textContent = error.message;
  }
});
form.querySelector('button').disabled = false;

// This page is also what a visitor sees whose session could not be renewed on the server. The browser may still refresh.
client.refresh().then(
  () => location.replace('/'),
  () => {},
);
