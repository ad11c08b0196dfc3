import { svelteKitSession } from 'nestjs-multisession-client/ssr';

const { API_URL = 'http://127.0.0.1:3000', BACKEND_KEY } = process.env;

export const handle = svelteKitSession({ url: `${API_URL}/api/session`, backendKey: BACKEND_KEY });
