import { type DynamicModule, Module, type Provider } from '@nestjs/common';
import { APP_FILTER, APP_GUARD } from '@nestjs/core';
import { TerminusModule } from '@nestjs/terminus';
import { ThrottlerModule } from '@nestjs/throttler';
import { TypeOrmModule } from '@nestjs/typeorm';
import { JwtAuthGuard, MultiSessionModule } from 'nestjs-multisession';
import { DjangoErrorFilter } from 'nestjs-multisession/django';
import type { DataSource } from 'typeorm';
import { publicDemoUser } from './demo.js';
import { Draining } from './draining.js';
import type { Environment } from './environment.js';
import { HealthController } from './health.controller.js';
import { LoginThrottlerGuard, loginThrottling } from './login-throttler.js';
import { MeController } from './me.controller.js';
import { MetricsModule } from './metrics.module.js';
import { PAGE_OPTIONS, PageController, type PageOptions } from './page.controller.js';
import { AdministratorGuard } from './users/administrator.guard.js';
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
  static with(environment: Environment, dataSource: DataSource): DynamicModule {
    const { sessions, push, djangoCompat, throttleLogins, metrics, admins } = environment;
    return {
      module: AppModule,
      imports: [
        ...(metrics ? [MetricsModule.start()] : []),
        TypeOrmModule.forRootAsync({
          useFactory: () => dataSource.options,
          dataSourceFactory: () => Promise.resolve(dataSource),
        }),
        ThrottlerModule.forRoot(loginThrottling(throttleLogins, sessions.usernameField)),
        TerminusModule,
        MultiSessionModule.forRoot({
          ...sessions,
          ...(push && { revocation: { push, ...sessions.revocation } }),
          imports: [UsersModule.with(sessions.userIdType ?? 'number', admins)],
          authenticator: { useExisting: UsersAuthenticator },
          ...(admins.length > 0 && { admin: { guard: [JwtAuthGuard, AdministratorGuard] } }),
        }),
      ],
      controllers: [PageController, MeController, HealthController],
      providers: [
        Draining,
        { provide: PAGE_OPTIONS, useValue: pageOptions(environment) },
        { provide: APP_GUARD, useClass: LoginThrottlerGuard },
        ...(djangoCompat ? DJANGO_PROVIDERS : []),
      ],
    };
  }
}

function pageOptions({ sessions, demoUsers, admins }: Environment): PageOptions {
  return { sessions, demoUser: publicDemoUser(demoUsers)?.username, hasAdmins: admins.length > 0 };
}
