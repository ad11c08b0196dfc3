import { describe, expect, test } from '@jest/globals';
import { ExecutionContextHost } from '@nestjs/core/helpers/execution-context-host.js';
import { credentialsCarrierOf } from '../../../lib/http/credentials.js';
import { type CredentialsCarrier, headerOf } from '../../../lib/http/request.js';

const carrier: CredentialsCarrier = { headers: { authorization: 'Bearer t' } };

function found(type: string, ...args: unknown[]) {
  const context = new ExecutionContextHost(args);
  context.setType(type);
  return credentialsCarrierOf(context);
}

describe('credentialsCarrierOf', () => {
  test('finds the request of an HTTP call', () => {
    expect(found('http', carrier, {})).toBe(carrier);
  });

  test.each([
    ['req', { req: carrier }],
    ['request', { request: carrier }],
    ['reply.request', { reply: { request: carrier } }],
  ])('finds the request in the context of a GraphQL call, as `%s`', (_, context) => {
    expect(found('graphql', {}, {}, context, {})).toBe(carrier);
  });

  test.each([
    ['the context', (socket: object) => socket],
    ['`req` of the context', (socket: object) => ({ req: socket })],
  ])('finds in a GraphQL call over a socket what opened it, and the parameters of the client, in %s', (_, context) => {
    const request = { ...carrier, method: 'GET' };
    const connectionParams = { Authorization: 'Bearer p', token: 't', headers: { Origin: 'https://evil.example' } };
    expect(found('graphql', {}, {}, context({ extra: { request }, connectionParams }), {})).toMatchObject({
      ...request,
      sentHeaders: { authorization: 'Bearer p', token: 't', origin: 'https://evil.example' },
      auth: { token: 't' },
    });
  });

  test('finds nothing in a transport that the library does not know', () => {
    expect(found('telegraf', carrier)).toBeUndefined();
  });

  test('finds nothing in a GraphQL call without a request', () => {
    expect(found('graphql', {}, {}, {}, {})).toBeUndefined();
    expect(found('graphql', {}, {}, undefined, {})).toBeUndefined();
  });

  test("prefers Socket.IO's handshake to the request of the socket", () => {
    expect(found('ws', { handshake: carrier, request: {} }, 'data')).toBe(carrier);
  });

  test('finds on a socket of `ws` the request that the gateway keeps, or the token that came later', () => {
    expect(found('ws', { request: carrier }, 'data')).toBe(carrier);
    const authenticated = { request: carrier, auth: { token: 't' } };
    expect(found('ws', authenticated, 'data')).toBe(authenticated);
  });

  test('falls back to the socket itself', () => {
    const socket = {};
    expect(found('ws', socket, 'data')).toBe(socket);
  });
});

test('headerOf reads a header that was sent exactly once', () => {
  expect(headerOf(carrier, 'authorization')).toBe('Bearer t');
  expect(headerOf({ headers: { authorization: ['a', 'b'] } }, 'authorization')).toBeUndefined();
  expect(headerOf({ headers: {} }, 'authorization')).toBeUndefined();
  expect(headerOf({}, 'authorization')).toBeUndefined();
});
