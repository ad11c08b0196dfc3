import { type DynamicModule, Module, type Provider } from '@nestjs/common';
import { APP_FILTER, APP_GUARD } from '@nestjs/core';
import { TerminusModule } from '@nestjs/terminus';
import { ThrottlerModule } from '@nestjs/throttler';
import { TypeOrmModule } from '@nestjs/typeorm';
import { MultiSessionModule } from 'nestjs-multisession';
import { DjangoErrorFilter } from 'nestjs-multisession/django';
import type { DataSource } from 'typeorm';
import { Draining } from './draining.js';
import type { Environment } from './environment.js';
import { HealthController } from './health.controller.js';
import { LoginThrottlerGuard, loginThrottling } from './login-throttler.js';
import { MeController } from './me.controller.js';
import { MetricsModule } from './metrics.module.js';
import { PAGE_OPTIONS, PageController } from './page.controller.js';
import { UsersAuthenticator } from './users/users.authenticator.js';
import { UsersModule } from './users/users.module.js';

const DJANGO_PROVIDERS: Provider[] = [{ provide: APP_FILTER, useClass: DjangoErrorFilter }];

@Module({})
export class AppModule {
  /**
   * Configures the application.
   *
   * @param dataSource a connected database with all tables
   */
  static with(
    { sessions, push, djangoCompat, throttleLogins, metrics }: Environment,
    dataSource: DataSource,
  ): DynamicModule {
    return {
      module: AppModule,
      imports: [
        ...(metrics ? [MetricsModule.start()] : []),
        TypeOrmModule.forRootAsync({
          useFactory: () => dataSource.options,
          dataSourceFactory: () => Promise.resolve(dataSource),
        }),
        ThrottlerModule.forRoot(loginThrottling(throttleLogins)),
        TerminusModule,
        MultiSessionModule.forRoot({
          ...sessions,
          ...(push && { revocation: { push, ...sessions.revocation } }),
          imports: [UsersModule],
          authenticator: { useExisting: UsersAuthenticator },
        }),
      ],
      controllers: [PageController, MeController, HealthController],
      providers: [
        Draining,
        { provide: PAGE_OPTIONS, useValue: sessions },
        { provide: APP_GUARD, useClass: LoginThrottlerGuard },
        ...(djangoCompat ? DJANGO_PROVIDERS : []),
      ],
    };
  }
}
