import type { MovedApp } from './moved-app.js';
import { SAMPLE_SECRET_KEY } from './sample-app.js';

/* Requests of clients that moved from Django to the sample application. */

/** What simplejwt_multisessions answers for a refresh token that it does not know. */
export const UNKNOWN = { detail: 'No active account found with the given credentials' };

export const post = (app: MovedApp, path: string, body: object, access?: string) =>
  app.post(
    `/api/session/${path}`,
    { secret_key: SAMPLE_SECRET_KEY, ...body },
    access === undefined ? {} : { authorization: `JWT ${access}` },
  );
export const refresh = (app: MovedApp, token: string, session: string) =>
  post(app, 'refresh/', { refresh: token, session });

export async function get(app: MovedApp, path: string, authorization: string, method = 'GET') {
  const response = await fetch(app.url + path, { method, headers: { authorization } });
  const text = await response.text();
  return { status: response.status, body: text === '' ? undefined : JSON.parse(text) };
}
