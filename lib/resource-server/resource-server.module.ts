import {
  ConfigurableModuleBuilder,
  Inject,
  Logger,
  Module,
  type OnApplicationShutdown,
  type OnModuleInit,
  Optional,
} from '@nestjs/common';
import { MultiSessionConfigurationError } from '../configuration-error.js';
import { CsrfGuard } from '../http/csrf.guard.js';
import { JwtAuthGuard } from '../http/jwt-auth.guard.js';
import { HTTP_CONFIG } from '../http/options.js';
import { RouteRulesCheck } from '../http/route-rules-check.js';
import { OptionFaults } from '../option-check.js';
import { AccessVerifier } from '../session/access-verifier.js';
import { EndedSessions } from '../session/ended-sessions.js';
import { IssuerClient } from '../verifier/issuer-client.js';
import {
  credentialsConfigOf,
  readVerifierOptions,
  type VerifierConfig,
  type VerifierOptions,
} from '../verifier/options.js';
import { SessionConnections } from '../connections/session-connections.js';
import { RemoteAccessVerifier } from './remote-access-verifier.js';
import { RemoteEndedSessions } from './remote-ended-sessions.js';
import { ResourceServerHealthIndicator } from './resource-server-health.indicator.js';

/** The injection token of the checked options. */
const CONFIG = 'MULTI_SESSION_RESOURCE_SERVER_CONFIG';

const { ConfigurableModuleClass, MODULE_OPTIONS_TOKEN } = new ConfigurableModuleBuilder<VerifierOptions>({
  moduleName: 'MultiSessionResourceServer',
})
  .setClassMethodName('forRoot')
  .setExtras<{ isGlobal?: boolean | undefined }>({ isGlobal: true }, (definition, { isGlobal = true }) => ({
    ...definition,
    global: isGlobal,
  }))
  .build();

/**
 * Verifies the access tokens of another application's sessions, without its database. Import it once, with `forRoot` or
 * `forRootAsync`. `JwtAuthGuard` and the decorators then work as in the issuer.
 *
 * The start does not wait for the issuer longer than for one answer. Until the issuer has answered, requests get 503.
 */
@Module({
  providers: [
    {
      provide: CONFIG,
      useFactory: configOf,
      inject: [MODULE_OPTIONS_TOKEN],
    },
    { provide: IssuerClient, useFactory: (config: VerifierConfig) => new IssuerClient(config), inject: [CONFIG] },
    { provide: EndedSessions, useClass: RemoteEndedSessions },
    { provide: AccessVerifier, useClass: RemoteAccessVerifier },
    { provide: HTTP_CONFIG, useFactory: credentialsConfigOf, inject: [CONFIG] },
    JwtAuthGuard,
    CsrfGuard,
    RouteRulesCheck,
    ResourceServerHealthIndicator,
    SessionConnections,
  ],
  exports: [
    AccessVerifier,
    EndedSessions,
    HTTP_CONFIG,
    JwtAuthGuard,
    CsrfGuard,
    ResourceServerHealthIndicator,
    SessionConnections,
  ],
})
export class ResourceServerModule extends ConfigurableModuleClass implements OnModuleInit, OnApplicationShutdown {
  /** @internal */
  constructor(@Optional() @Inject(IssuerClient) private readonly issuer?: IssuerClient) {
    super();
  }

  /**
   * Asks the issuer once.
   * @internal
   */
  async onModuleInit(): Promise<void> {
    await this.issuer?.start();
  }

  /**
   * Stops to ask the issuer.
   * @internal
   */
  async onApplicationShutdown(): Promise<void> {
    await this.issuer?.stop();
  }
}

function configOf(given: VerifierOptions): VerifierConfig {
  const faults = new OptionFaults();
  const config = readVerifierOptions({ logger: new Logger('MultiSession'), ...given }, faults);
  if (faults.list.length > 0) throw new MultiSessionConfigurationError(faults.list);
  return config;
}
