import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import express from 'express';
import { createProxyMiddleware } from 'http-proxy-middleware';
import { expressSession } from 'nestjs-multisession-client/ssr';

const { API_URL = 'http://127.0.0.1:3000', BACKEND_KEY, PORT = '4000' } = process.env;
const client = dirname(fileURLToPath(import.meta.resolve('nestjs-multisession-client')));

const app = express();
// Browsers reach the API under the host of the pages, so that both get the cookies.
app.use(createProxyMiddleware({ target: API_URL, pathFilter: '/api' }));
app.use('/client', express.static(client));
app.use('/public', express.static(new URL('public', import.meta.url).pathname));
app.use(expressSession({ url: `${API_URL}/api/session`, backendKey: BACKEND_KEY }));

app.get('/', async (request, response) => {
  const sessions = await response.locals.session.json('/api/session/sessions');
  if (!sessions) return response.redirect('/login');
  const devices = sessions.map(({ browser }) => `<li>${escaped(browser?.name ?? 'Unknown device')}</li>`);
  response.send(
    page('Your devices', `<ul>${devices.join('')}</ul><button id="logout" disabled>Log out</button>`, 'page'),
  );
});

app.get('/login', (request, response) => {
  const fields = '<input name="username" /><input name="password" type="password" />';
  // The script enables the button. Without it, the browser would put the password into the URL.
  response.send(page('Log in', `<form>${fields}<button disabled>Log in</button><p role="alert"></p></form>`, 'login'));
});

const page = (title, body, script) => `<!doctype html>
  <html lang="en">
    <title>${title}</title>
    <h1>${title}</h1>
    ${body}
    <script type="module" src="/public/${script}.js"></script>
  </html>`;

const escaped = (text) => text.replace(/[&<>"]/g, (character) => `&#${character.charCodeAt(0)};`);

app.listen(PORT, () => console.log(`http://localhost:${PORT}`));
