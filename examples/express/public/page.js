import { createSessionClient } from '/client/index.js';

const client = createSessionClient({ url: '/api/session', transport: 'cookie' });
const button = document.querySelector('#logout');

// The session ends here if it ends in another tab or on the server.
const hasEnded = () => ['anonymous', 'ended'].includes(client.getSnapshot().status);
const unsubscribe = client.subscribe(() => hasEnded() && location.replace('/login'));

button.addEventListener('click', async () => {
  // Wait for the server: the browser cancels the request if it leaves the page.
  unsubscribe();
  await client.logout();
  location.replace('/login');
});
button.disabled = false;
