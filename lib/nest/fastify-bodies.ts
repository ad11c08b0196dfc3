import { Inject, Injectable, type OnModuleInit } from '@nestjs/common';
import { HttpAdapterHost } from '@nestjs/core';
import type { MultiSessionConfig } from '../engine/options.js';
import { FASTIFY_ROUTE_MARK } from '../http/route-metadata.js';
import { CONFIG } from './tokens.js';

/** The type of security events, which Fastify refuses unless it has a parser. */
const SECURITY_EVENT = 'application/secevent+jwt';

/** The parts of Fastify that `FastifyBodies` uses. */
interface Fastify {
  hasContentTypeParser(type: string): boolean;
  addContentTypeParser(
    type: string,
    options: { parseAs: 'string' },
    parse: (request: unknown, body: string, done: (error: null, body: string) => void) => void,
  ): unknown;
  addHook(name: 'onRequest', hook: (request: FastifyRequest, reply: unknown, done: () => void) => void): unknown;
}

interface FastifyRequest {
  readonly headers: Record<string, string | undefined>;
  readonly routeOptions: { readonly config?: Readonly<Record<string, unknown>> };
}

/**
 * Lets the library's routes accept `Content-Type: application/json` without a body, as Express does. Fastify answers 400, but
 * many clients send this header with every request, also with a DELETE. Security events are accepted if `identityProviders` is set.
 */
@Injectable()
export class FastifyBodies implements OnModuleInit {
  constructor(
    private readonly adapterHost: HttpAdapterHost,
    @Inject(CONFIG) private readonly config: MultiSessionConfig,
  ) {}

  onModuleInit(): void {
    // An application without HTTP has no adapter.
    const { httpAdapter } = this.adapterHost as Partial<HttpAdapterHost>;
    if (httpAdapter?.getType() !== 'fastify') return;
    const fastify = httpAdapter.getInstance<Fastify>();
    if (this.config.identityProviders.length > 0 && !fastify.hasContentTypeParser(SECURITY_EVENT))
      fastify.addContentTypeParser(SECURITY_EVENT, { parseAs: 'string' }, (_, body, done) => done(null, body));
    fastify.addHook('onRequest', ({ headers, routeOptions }, _, done) => {
      const isEmpty = headers['transfer-encoding'] === undefined && Number(headers['content-length'] ?? 0) === 0;
      if (isEmpty && routeOptions.config?.[FASTIFY_ROUTE_MARK]) delete headers['content-type'];
      done();
    });
  }
}
