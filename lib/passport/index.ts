import {
  type DynamicModule,
  Inject,
  Module,
  type OnApplicationBootstrap,
  type OnApplicationShutdown,
  type OnModuleInit,
} from '@nestjs/common';
import { ModuleRef } from '@nestjs/core';
import * as passportModule from 'passport';
import { MultiSessionConfigurationError } from '../errors.js';
import { HTTP_CONFIG, type HttpConfig } from '../http/options.js';
import { checkObject, OptionFaults, text, withDefault } from '../option-check.js';
import { AccessVerifier } from '../session/access-verifier.js';
import { SessionService } from '../session/service.js';
import { Keyring } from '../token/keyring.js';
import { isOurStrategy, registerStrategy } from './jwt.strategy.js';

// CommonJS without `esModuleInterop` has no default export.
const passport = 'default' in passportModule ? passportModule.default : passportModule;

const NAME = 'MULTI_SESSION_PASSPORT_NAME';
const DEFAULT_NAME = 'jwt';

/** The options of `MultiSessionPassportModule.forRoot`. */
export interface MultiSessionPassportOptions {
  /** The name of the strategy, as you pass it to `AuthGuard`. Default: `'jwt'`, for `AuthGuard('jwt')`. */
  name?: string | undefined;
}

/**
 * Registers a Passport strategy that accepts the same tokens as `JwtAuthGuard`. Use it for routes with `AuthGuard('jwt')` and
 * for chains such as `AuthGuard(['jwt', 'api-key'])`. Import it together with `MultiSessionModule`:
 *
 * ```ts
 * imports: [MultiSessionModule.forRoot({ … }), MultiSessionPassportModule.forRoot()];
 * ```
 *
 * It needs the packages `@nestjs/passport`, `passport` and `passport-jwt`.
 *
 * Passport has one list of strategies for the whole process, and a second strategy of the same name silently replaces the
 * first. If your application has registered a strategy under this name, the start fails with a
 * `MultiSessionConfigurationError`. If two applications in one process use this module, give them different names. Otherwise,
 * the strategy of the application that started last handles the requests of both.
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
   * @throws MultiSessionConfigurationError if an option is not valid
   */
  static forRoot(options: MultiSessionPassportOptions = {}): DynamicModule {
    const faults = new OptionFaults();
    const { name } = checkObject(options, 'MultiSessionPassportModule', faults, {
      name: withDefault(DEFAULT_NAME, text),
    });
    if (faults.list.length > 0) throw new MultiSessionConfigurationError(faults.list);
    return { module: MultiSessionPassportModule, providers: [{ provide: NAME, useValue: name }] };
  }

  /** @internal Registers the strategy. By now, Nest has created every provider, including the application's own strategies. */
  onModuleInit(): void {
    this.assertNameIsFree();
    this.strategy = registerStrategy(this.name, {
      keyring: this.get<Keyring>(Keyring),
      config: this.get<HttpConfig>(HTTP_CONFIG),
      sessions: this.get<SessionService>(SessionService),
      verifier: this.get<AccessVerifier>(AccessVerifier),
    });
  }

  /** @internal Checks again, in case the application registered a strategy during start that has replaced ours. */
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
      // Not strict, because MultiSessionModule may not be global.
      return this.moduleRef.get<unknown, T>(token, { strict: false });
    } catch (error) {
      const fault = 'MultiSessionPassportModule needs MultiSessionModule; import both into the application';
      throw Object.assign(new MultiSessionConfigurationError([fault]), { cause: error });
    }
  }
}

/** Finds a strategy by name, as `AuthGuard` does at each request. Passport's types do not declare this method. */
function registered(name: string): object | undefined {
  return (passport as unknown as { _strategy(name: string): object | undefined })._strategy(name);
}
