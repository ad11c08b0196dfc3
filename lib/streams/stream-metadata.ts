import { Injectable, type OnModuleInit } from '@nestjs/common';
import { HttpAdapterHost } from '@nestjs/core';
import { StreamReceivers } from './stream-receivers.js';

/**
 * Serves the transmitter's configuration at the well-known path of the issuer. It is at the root of the server, and no prefix,
 * version or path of the application comes before it. So it is not a route of a controller.
 */
@Injectable()
export class StreamMetadata implements OnModuleInit {
  constructor(
    private readonly adapterHost: HttpAdapterHost,
    private readonly receivers: StreamReceivers,
  ) {}

  /** Adds the route before Nest adds those of the application's 404 answers. */
  onModuleInit(): void {
    // An application without HTTP has no adapter.
    const { httpAdapter } = this.adapterHost as Partial<HttpAdapterHost>;
    const metadata = this.receivers.metadata();
    if (!httpAdapter || !metadata) return;
    httpAdapter.get(this.receivers.metadataPath, (_: unknown, response: unknown) => {
      httpAdapter.setHeader(response, 'Cache-Control', 'max-age=300');
      return httpAdapter.reply(response, metadata, 200) as unknown;
    });
  }
}
