import axios, { type AxiosInstance, type CreateAxiosDefaults } from 'axios';
import type { SessionClient } from './types.js';

/**
 * Creates an axios instance that sends its requests with `client.fetch`. It needs axios 1.12 or later.
 * @param config options of the instance, such as `baseURL`
 */
export function sessionAxios(client: Pick<SessionClient, 'fetch'>, config: CreateAxiosDefaults = {}): AxiosInstance {
  // Without `Request`, axios passes the body on as it is. The client can then send it again without a copy.
  const env = { fetch: client.fetch, Request: null } as unknown as NonNullable<CreateAxiosDefaults['env']>;
  return axios.create({ ...config, adapter: 'fetch', env });
}
