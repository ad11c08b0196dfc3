import { Controller, HttpCode, Inject, Query, Req, UseInterceptors } from '@nestjs/common';
import { HttpAdapterHost } from '@nestjs/core';
import { AnswerHeadersInterceptor } from '../http/answer-headers.interceptor.js';
import { type CredentialsCarrier, headerOf } from '../http/request.js';
import { jsonOf } from '../http/request-body.js';
import { ResponseInterceptor, responseOf } from '../http/response.interceptor.js';
import { EventStreams, type PollAnswer } from '../outbox/event-streams.js';
import { isPushed, type SecurityEventStreamConfig } from '../outbox/options.js';
import { refusal, StreamReceivers, UnknownReceiverError } from './stream-receivers.js';
import { type Body, objectIn, readPoll, readState, readStatus } from './stream-request.js';
import { StreamRoute } from './stream-route.js';

type StreamQuery = Readonly<Record<string, unknown>>;

const CONFIGURED = 'The streams of this transmitter are configured by its operator';

/**
 * The routes at which the receivers of streams manage them (SSF 1.0) and poll (RFC 8936). They exist only if the option
 * `eventStreams` is set. A receiver shows one of its `receiverKeys` as a bearer token, and has one stream.
 */
@Controller()
@UseInterceptors(AnswerHeadersInterceptor, ResponseInterceptor)
export class StreamsController {
  @Inject(EventStreams) private readonly streams!: EventStreams;
  @Inject(StreamReceivers) private readonly receivers!: StreamReceivers;
  @Inject(HttpAdapterHost) private readonly adapterHost!: HttpAdapterHost;

  /** Answers with the stream that `stream_id` names, or with a list of the receiver's streams. */
  @HttpCode(200)
  @StreamRoute('read')
  read(@Req() request: CredentialsCarrier, @Query() { stream_id }: StreamQuery): object {
    const described = this.receivers.describe(this.streamOf(request, stream_id));
    return stream_id === undefined ? [described] : described;
  }

  /** Answers 409: the receiver has its stream already, and can read it. */
  @StreamRoute('create')
  create(@Req() request: CredentialsCarrier): never {
    this.streamOf(request);
    throw refusal(409, `${CONFIGURED}. Read the one that exists`);
  }

  /** Answers 403. */
  @StreamRoute('update')
  update(@Req() request: CredentialsCarrier): never {
    return this.refuseChange(request);
  }

  /** Answers 403. */
  @StreamRoute('replace')
  replace(@Req() request: CredentialsCarrier): never {
    return this.refuseChange(request);
  }

  /** Answers 403. To stop a stream, the receiver disables it. */
  @StreamRoute('remove')
  remove(@Req() request: CredentialsCarrier): never {
    return this.refuseChange(request);
  }

  /** Answers with the status. */
  @HttpCode(200)
  @StreamRoute('status')
  async status(@Req() request: CredentialsCarrier, @Query() { stream_id }: StreamQuery): Promise<object> {
    return this.statusOf(this.streamOf(request, stream_id));
  }

  /** Takes `status` and `reason`, and answers with the new status. */
  @HttpCode(200)
  @StreamRoute('setStatus')
  async setStatus(@Req() request: CredentialsCarrier): Promise<object> {
    const { stream, body } = await this.readBody(request);
    await this.streams.setStatus(stream, readStatus(body));
    return this.statusOf(stream);
  }

  /** Takes `subject`. */
  @HttpCode(200)
  @StreamRoute('addSubject')
  async addSubject(@Req() request: CredentialsCarrier): Promise<void> {
    const { stream, body } = await this.readBody(request);
    await this.streams.include(stream, this.receivers.userIn(body.subject), true);
  }

  /** Takes `subject`. */
  @StreamRoute('removeSubject')
  async removeSubject(@Req() request: CredentialsCarrier): Promise<void> {
    const { stream, body } = await this.readBody(request);
    await this.streams.include(stream, this.receivers.userIn(body.subject), false);
  }

  /** Takes `state`. Answers 429 if the receiver asks too often, and 400 if the stream is not enabled. */
  @StreamRoute('verify')
  async verify(@Req() request: CredentialsCarrier): Promise<void> {
    const { stream, body } = await this.readBody(request);
    const state = readState(body);
    const { status } = await this.streams.status(stream);
    if (status !== 'enabled') throw refusal(400, `The stream is ${status}`);
    if (!(await this.streams.verify(stream, state)))
      throw refusal(429, 'The last verification was less than min_verification_interval ago');
  }

  /** Takes `ack`, `setErrs`, `maxEvents` and `returnImmediately`. Answers with `sets` and `moreAvailable`. */
  @HttpCode(200)
  @StreamRoute('poll')
  async poll(@Req() request: CredentialsCarrier): Promise<PollAnswer> {
    const { stream, body } = await this.readBody(request);
    if (isPushed(stream)) throw refusal(400, 'The events of this stream are pushed');
    const answer = await this.streams.poll(stream, readPoll(body));
    // A receiver polls again at once. On the same connection, that would keep the server from closing.
    if (this.streams.isClosing) this.setHeader(request, 'Connection', 'close');
    return answer;
  }

  private refuseChange(request: CredentialsCarrier): never {
    this.streamOf(request);
    throw refusal(403, `${CONFIGURED}. To stop yours, set its status to disabled`);
  }

  private async statusOf(stream: SecurityEventStreamConfig): Promise<object> {
    const { status, reason } = await this.streams.status(stream);
    return { stream_id: stream.name, status, ...(reason !== null && { reason }) };
  }

  /** Knows the receiver before it reads the body. */
  private async readBody(request: CredentialsCarrier): Promise<{ stream: SecurityEventStreamConfig; body: Body }> {
    this.streamOf(request);
    const body = objectIn(await jsonOf(request));
    return { stream: this.streamOf(request, body.stream_id), body };
  }

  private streamOf(request: CredentialsCarrier, streamId?: unknown): SecurityEventStreamConfig {
    try {
      return this.receivers.streamOf(headerOf(request, 'authorization'), streamId);
    } catch (error) {
      if (error instanceof UnknownReceiverError)
        this.setHeader(request, 'WWW-Authenticate', 'Bearer error="invalid_token"');
      throw error;
    }
  }

  private setHeader(request: unknown, name: string, value: string): void {
    this.adapterHost.httpAdapter.setHeader(responseOf(request), name, value);
  }
}
