import { describe, expect, test } from '@jest/globals';
import { ExecutionContextHost } from '@nestjs/core/helpers/execution-context-host.js';
import { type CredentialsCarrier, credentialsCarrierOf, headerOf } from '../../../lib/http/request.js';

const carrier: CredentialsCarrier = { headers: { authorization: 'Bearer t' } };

function found(type: string, ...args: unknown[]) {
  const context = new ExecutionContextHost(args);
  context.setType(type);
  return credentialsCarrierOf(context);
}

describe('what carries the credentials', () => {
  test('of an HTTP call is the request', () => {
    expect(found('http', carrier, {})).toBe(carrier);
  });

  test.each([
    ['req', { req: carrier }],
    ['request', { request: carrier }],
    ['reply.request', { reply: { request: carrier } }],
    ['extra.request', { extra: { request: carrier } }],
  ])('of a GraphQL call is the request in the context, as `%s`', (_, context) => {
    expect(found('graphql', {}, {}, context, {})).toBe(carrier);
  });

  test('of a GraphQL call without a request is nothing', () => {
    expect(found('graphql', {}, {}, {}, {})).toBeUndefined();
    expect(found('graphql', {}, {}, undefined, {})).toBeUndefined();
  });

  test("of a message is Socket.IO's handshake, though the socket has a request too", () => {
    expect(found('ws', { handshake: carrier, request: {} }, 'data')).toBe(carrier);
  });

  test('of a message on a socket of `ws` is the request that the gateway keeps, or the token that came later', () => {
    expect(found('ws', { request: carrier }, 'data')).toBe(carrier);
    const authenticated = { request: carrier, auth: { token: 't' } };
    expect(found('ws', authenticated, 'data')).toBe(authenticated);
  });

  test('of a message on a socket that nothing is known of is the socket, so that it can be nobody or somebody', () => {
    const socket = {};
    expect(found('ws', socket, 'data')).toBe(socket);
  });
});

test('a header has a value where there is exactly one', () => {
  expect(headerOf(carrier, 'authorization')).toBe('Bearer t');
  expect(headerOf({ headers: { authorization: ['a', 'b'] } }, 'authorization')).toBeUndefined();
  expect(headerOf({ headers: {} }, 'authorization')).toBeUndefined();
  expect(headerOf({}, 'authorization')).toBeUndefined();
});
