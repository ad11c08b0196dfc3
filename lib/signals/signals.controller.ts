import { Controller, HttpCode, HttpException, Inject, Req, SetMetadata, UseInterceptors } from '@nestjs/common';
import { HttpAdapterHost } from '@nestjs/core';
import { AnswerHeadersInterceptor } from '../http/answer-headers.interceptor.js';
import type { Handlers } from '../http/contract.js';
import { type CredentialsCarrier, headerOf } from '../http/request.js';
import { ResponseInterceptor, responseOf } from '../http/response.interceptor.js';
import type { SIGNAL_ROUTES } from './contract.js';
import { bodyOf, formFieldOf, jsonOf } from '../http/request-body.js';
import { SignalRefusedError } from './signal-error.js';
import { SignalReceiver } from './signal-receiver.js';
import { SignalRoute } from './signal-route.js';

/** Hides a route from the OpenAPI document. The key is that of `@nestjs/swagger`, which the library does not import. */
const EXCLUDED_OF_SWAGGER = SetMetadata('swagger/apiExcludeEndpoint', { disable: true });

/**
 * The routes at which identity providers end sessions. They exist only if the option `signals` is set. Each standard has answers
 * of its own, which differ from those of the other routes.
 */
@Controller()
@UseInterceptors(AnswerHeadersInterceptor, ResponseInterceptor)
export class SignalsController implements Handlers<typeof SIGNAL_ROUTES> {
  @Inject(SignalReceiver) private readonly signals!: SignalReceiver;
  @Inject(HttpAdapterHost) private readonly adapterHost!: HttpAdapterHost;

  /** Takes a form with the field `logout_token`. Answers 200, or 400 with an error as in OAuth 2.0. */
  @HttpCode(200)
  @SignalRoute('logout')
  @EXCLUDED_OF_SWAGGER
  async logout(@Req() request: CredentialsCarrier): Promise<void> {
    const token = await formFieldOf(request, 'logout_token');
    await this.signals.logout(token).catch((error: unknown) => {
      throw answerTo(error, ({ message }) => [400, { error: 'invalid_request', error_description: message }]);
    });
  }

  /** Takes a security event token. Answers 202, also if it was received before, or 400 with an error of RFC 8935. */
  @HttpCode(202)
  @SignalRoute('event')
  @EXCLUDED_OF_SWAGGER
  async event(@Req() request: CredentialsCarrier): Promise<void> {
    const body = await bodyOf(request);
    const token = typeof body === 'string' ? body.trim() : undefined;
    await this.signals.securityEvent(token, headerOf(request, 'authorization'), request).catch((error: unknown) => {
      throw answerTo(error, ({ fault, message }) => [400, { err: fault, description: message }]);
    });
  }

  /** Takes a JSON body with the member `sub_id`. Answers 204, 400, 401, or 404 if the user is unknown. */
  @SignalRoute('revoke')
  @EXCLUDED_OF_SWAGGER
  async revoke(@Req() request: CredentialsCarrier): Promise<void> {
    const body = await jsonOf(request);
    const ended = await this.signals
      .revokeUser(headerOf(request, 'authorization'), body, request)
      .catch((error: unknown) => {
        throw answerTo(error, ({ fault, message }) => {
          const status = fault === 'authentication_failed' ? 401 : 400;
          if (status === 401)
            this.adapterHost.httpAdapter.setHeader(
              responseOf(request),
              'WWW-Authenticate',
              'Bearer error="invalid_token"',
            );
          return [status, { statusCode: status, message }];
        });
      });
    if (ended === undefined) throw new HttpException({ statusCode: 404, message: 'The user is not known' }, 404);
  }
}

/** Returns the answer to a refused signal, in the format of its standard. Other errors stay as they are. */
function answerTo(
  error: unknown,
  answer: (refusal: SignalRefusedError) => [status: number, body: Record<string, unknown>],
): unknown {
  if (!(error instanceof SignalRefusedError)) return error;
  const [status, body] = answer(error);
  return new HttpException(body, status, { cause: error });
}
