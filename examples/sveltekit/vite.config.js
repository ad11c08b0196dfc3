import { sveltekit } from '@sveltejs/kit/vite';

const { API_URL = 'http://127.0.0.1:3000' } = process.env;

// `server.js` does the same in production.
export default { plugins: [sveltekit()], server: { proxy: { '/api': API_URL } } };
