import {
  type DynamicModule,
  Inject,
  Module,
  type OnApplicationBootstrap,
  type OnApplicationShutdown,
  type OnModuleInit,
} from '@nestjs/common';
import { ModuleRef } from '@nestjs/core';
import passport from 'passport';
import { MultiSessionConfigurationError } from '../errors.js';
import { HTTP_CONFIG, type HttpConfig } from '../http/options.js';
import { checkObject, OptionFaults, text, withDefault } from '../option-check.js';
import { AccessVerifier } from '../session/access-verifier.js';
import { SessionService } from '../session/service.js';
import { Keyring } from '../token/keyring.js';
import { isOurStrategy, registerStrategy } from './jwt.strategy.js';

const NAME = 'MULTI_SESSION_PASSPORT_NAME';
const DEFAULT_NAME = 'jwt';

/** What `MultiSessionPassportModule.forRoot` takes. */
export interface MultiSessionPassportOptions {
  /** The name of the strategy: `'jwt'` is for `AuthGuard('jwt')`. Default: `'jwt'`. */
  name?: string;
}

/**
 * Registers a Passport strategy with the same verdict as `JwtAuthGuard`, for routes with `AuthGuard('jwt')` and for chains
 * such as `AuthGuard(['jwt', 'api-key'])`. Import it beside `MultiSessionModule`:
 *
 * ```ts
 * imports: [MultiSessionModule.forRoot({ … }), MultiSessionPassportModule.forRoot()];
 * ```
 *
 * It needs the packages `@nestjs/passport`, `passport` and `passport-jwt`.
 *
 * Passport has one list of strategies for the whole process, and a second strategy of the same name silently replaces the
 * first. If your application has registered a strategy under this name, the start fails with a
 * `MultiSessionConfigurationError`. Two applications in one process may both use this module, but the one that started last
 * answers for both unless they choose different names.
 */
@Module({})
export class MultiSessionPassportModule implements OnModuleInit, OnApplicationBootstrap, OnApplicationShutdown {
  private strategy?: object;

  constructor(
    @Inject(NAME) private readonly name: string,
    private readonly moduleRef: ModuleRef,
  ) {}

  /**
   * Configures the module.
   *
   * @param options the name of the strategy
   * @throws {@link MultiSessionConfigurationError} if an option is not valid
   */
  static forRoot(options: MultiSessionPassportOptions = {}): DynamicModule {
    const faults = new OptionFaults();
    const { name } = checkObject(options, 'MultiSessionPassportModule', faults, {
      name: withDefault(DEFAULT_NAME, text),
    });
    if (faults.list.length > 0) throw new MultiSessionConfigurationError(faults.list);
    return { module: MultiSessionPassportModule, providers: [{ provide: NAME, useValue: name }] };
  }

  /** @internal Nest has created every provider by now, so the application's own strategies are registered. */
  onModuleInit(): void {
    this.assertNameIsFree();
    this.strategy = registerStrategy(this.name, {
      keyring: this.get<Keyring>(Keyring),
      config: this.get<HttpConfig>(HTTP_CONFIG),
      sessions: this.get<SessionService>(SessionService),
      verifier: this.get<AccessVerifier>(AccessVerifier),
    });
  }

  /** @internal Finds a strategy that the application registered during start, which has replaced ours. */
  onApplicationBootstrap(): void {
    this.assertNameIsFree();
  }

  /** @internal Frees the name after the last request, unless another application has taken it over. */
  onApplicationShutdown(): void {
    if (this.strategy !== undefined && registered(this.name) === this.strategy) passport.unuse(this.name);
  }

  private assertNameIsFree(): void {
    const found = registered(this.name);
    if (!found || isOurStrategy(found)) return;
    throw new MultiSessionConfigurationError([
      `Passport already has a strategy named '${this.name}' (class ${found.constructor.name}), and one would replace the ` +
        "other; choose another name: MultiSessionPassportModule.forRoot({ name: 'session-token' }) and AuthGuard('session-token')",
    ]);
  }

  private get<T>(token: Parameters<ModuleRef['get']>[0]): T {
    try {
      // Not strict: MultiSessionModule may be global or not.
      return this.moduleRef.get<unknown, T>(token, { strict: false });
    } catch (error) {
      const fault = 'MultiSessionPassportModule needs MultiSessionModule; import both into the application';
      throw Object.assign(new MultiSessionConfigurationError([fault]), { cause: error });
    }
  }
}

/** Passport's types leave its look-up out. AuthGuard uses it at each request. */
function registered(name: string): object | undefined {
  return (passport as unknown as { _strategy(name: string): object | undefined })._strategy(name);
}
