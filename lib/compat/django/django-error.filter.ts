import { type ArgumentsHost, Catch, HttpException, Inject, Optional } from '@nestjs/common';
import { ApplicationConfig, BaseExceptionFilter, HttpAdapterHost, ModulesContainer } from '@nestjs/core';
import { requireTypeAtRefresh } from '../../http/required-type.js';
import type { CredentialsCarrier } from '../../http/request.js';
import { drfAnswerOf } from './drf-answer.js';
import { SessionRoutes } from './session-routes.js';

/** Injection token of `DjangoErrorFilterOptions`. The provider is optional. */
export const DJANGO_ERROR_FILTER_OPTIONS = 'MULTI_SESSION_DJANGO_ERROR_FILTER_OPTIONS';

/** Settings of `DjangoErrorFilter`. */
export interface DjangoErrorFilterOptions {
  /**
   * Further path prefixes on which the filter acts, as they appear in a request. Use it for session routes of your own and for
   * wildcards. The filter finds `SessionsController` and its subclasses itself. `:name` matches exactly one segment, whatever
   * it is. Default: none.
   */
  prefixes?: readonly string[] | undefined;
}

/**
 * Answers errors with the bodies and statuses of Django REST framework and simplejwt_multisessions, so that a front end that
 * was written for them keeps working.
 *
 * It acts on errors of the session routes and on refusals by `JwtAuthGuard` on any route. It finds the session routes itself,
 * even below a global prefix, a version, the module's `path` or the path of a subclass. Nest's `BaseExceptionFilter` answers
 * all other errors. The filter keeps headers that are already set, such as `WWW-Authenticate` and `Retry-After`.
 *
 * With the filter, `refresh/` requires the field `session`, as simplejwt_multisessions does.
 *
 * Bind it globally, because Nest refuses a malformed body before it looks for a controller. Bind it before other filters:
 * Nest starts with the filter that was bound last, and this one catches everything.
 *
 * @example
 * providers: [{ provide: APP_FILTER, useClass: DjangoErrorFilter }]
 * @example
 * // if DjangoErrorFilter is a provider of a module
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
    requireTypeAtRefresh(modules);
  }

  override catch(exception: unknown, host: ArgumentsHost): void {
    // A resolver or a message handler has no HTTP response. Its own layer reports the error.
    if (host.getType<string>() !== 'http') throw exception;
    const { httpAdapter } = this.adapterHost;
    const [request, response] = host.getArgs<[CredentialsCarrier, unknown]>();
    const url = String(httpAdapter.getRequestUrl(request));
    const answer = drfAnswerOf(exception, {
      method: String(httpAdapter.getRequestMethod(request)),
      url,
      match: this.routes.find(url),
      hasUnreadableBody: hasUnreadableBody(request),
    });
    if (!answer) return super.catch(exception, host);
    if (answer.allow && !httpAdapter.isHeadersSent(response)) httpAdapter.setHeader(response, 'Allow', answer.allow);
    super.catch(new HttpException(answer.body, answer.status, { cause: exception }), host);
  }

  /** Finds the routes at the first error. Earlier, the global prefix and the versioning might not be set yet. */
  private get routes(): SessionRoutes {
    return (this.foundRoutes ??= new SessionRoutes(this.modules, this.config, this.options.prefixes));
  }
}

/** Whether the request has a body that is not a JSON object: it is malformed, or it is another JSON value. */
function hasUnreadableBody({ headers = {}, body }: CredentialsCarrier): boolean {
  const wasSent = (headers['content-length'] ?? '0') !== '0' || headers['transfer-encoding'] !== undefined;
  return wasSent && (typeof body !== 'object' || body === null || Array.isArray(body));
}
