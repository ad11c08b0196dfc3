import { type ArgumentsHost, Catch, HttpException, Inject, Optional } from '@nestjs/common';
import { ApplicationConfig, BaseExceptionFilter, HttpAdapterHost, ModulesContainer } from '@nestjs/core';
import type { CredentialsCarrier } from '../../http/request.js';
import { drfAnswerOf } from './drf-answer.js';
import { SessionRoutes } from './session-routes.js';

/** The injection token of `DjangoErrorFilterOptions`, which may be left out. */
export const DJANGO_ERROR_FILTER_OPTIONS = 'MULTI_SESSION_DJANGO_ERROR_FILTER_OPTIONS';

/** What `DjangoErrorFilter` cannot tell from the application. */
export interface DjangoErrorFilterOptions {
  /**
   * Paths to act under, beside those of `SessionsController` and its subclasses, as they stand in a request: for session
   * routes that the application has written itself, and for wildcards. `:name` stands for any one segment. Default: none.
   */
  prefixes?: readonly string[];
}

/**
 * Answers errors as Django REST framework and simplejwt_multisessions do, in body and status: for the front end that was
 * written for them. It acts under the prefix of the session routes, wherever the module's `path`, a global prefix, a version
 * or a subclassed controller puts them, and on what `JwtAuthGuard` refuses on any route. All else is answered by Nest's
 * `BaseExceptionFilter`, as without it. Headers set before, such as `WWW-Authenticate` and `Retry-After`, stay.
 *
 * It has to be global, since a malformed body is refused before any controller is found, and it catches everything, so
 * filters of the application that are bound before it are not asked: bind it first.
 *
 * @example
 * providers: [{ provide: APP_FILTER, useClass: DjangoErrorFilter }]
 * @example
 * // where DjangoErrorFilter is among the providers of a module
 * app.useGlobalFilters(app.get(DjangoErrorFilter));
 */
@Catch()
export class DjangoErrorFilter extends BaseExceptionFilter {
  private foundRoutes?: SessionRoutes;

  constructor(
    private readonly adapterHost: HttpAdapterHost,
    private readonly modules: ModulesContainer,
    private readonly config: ApplicationConfig,
    @Optional() @Inject(DJANGO_ERROR_FILTER_OPTIONS) private readonly options: DjangoErrorFilterOptions = {},
  ) {
    super();
  }

  override catch(exception: unknown, host: ArgumentsHost): void {
    // A resolver or a message handler has no HTTP answer to write: its own layer reports what is thrown.
    if (host.getType<string>() !== 'http') throw exception;
    const { httpAdapter } = this.adapterHost;
    const [request, response] = host.getArgs<[CredentialsCarrier, unknown]>();
    const url = String(httpAdapter.getRequestUrl(request));
    const answer = drfAnswerOf(exception, {
      method: String(httpAdapter.getRequestMethod(request)),
      url,
      place: this.routes.find(url),
      hasUnreadableBody: hasUnreadableBody(request),
    });
    if (!answer) return super.catch(exception, host);
    if (answer.allow && !httpAdapter.isHeadersSent(response)) httpAdapter.setHeader(response, 'Allow', answer.allow);
    super.catch(new HttpException(answer.body, answer.status, { cause: exception }), host);
  }

  /** Found at the first error, when the global prefix and the version have been set. */
  private get routes(): SessionRoutes {
    return (this.foundRoutes ??= new SessionRoutes(this.modules, this.config, this.options.prefixes));
  }
}

/** Whether a body was sent and was not read as an object: it is broken, or some other JSON value. */
function hasUnreadableBody({ headers = {}, body }: CredentialsCarrier): boolean {
  const wasSent = (headers['content-length'] ?? '0') !== '0' || headers['transfer-encoding'] !== undefined;
  return wasSent && (typeof body !== 'object' || body === null || Array.isArray(body));
}
