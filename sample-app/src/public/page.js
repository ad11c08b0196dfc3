/** Both pages, "Your devices" and the administration: connects the elements to this application's session routes. */
import { defineSessionElements } from './client/elements/index.js';
import { createSessionClient } from './client/index.js';

const { url, usernameField } = document.documentElement.dataset;
defineSessionElements(createSessionClient({ url, transport: 'cookie', usernameField }), { url });
