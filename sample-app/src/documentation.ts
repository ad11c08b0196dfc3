import type { INestApplication } from '@nestjs/common';
import { ApiTooManyRequestsResponse, DocumentBuilder, SwaggerModule } from '@nestjs/swagger';
import { SessionsController } from 'nestjs-multisession';
import { documentSessions } from 'nestjs-multisession/swagger';
import type { Environment } from './environment.js';

const DJANGO_NOTE =
  'DJANGO_COMPAT=1: errors have the statuses and bodies of Django REST framework, not those shown here.';

/** Serves Swagger UI at `/docs` and the OpenAPI document at `/docs-json`. */
export function serveDocumentation(
  app: INestApplication,
  { sessions, djangoCompat, throttleLogins, admins }: Environment,
): void {
  const { usernameField, secretKey, cookies } = sessions;
  documentSessions(SessionsController, {
    usernameField,
    secretKey: secretKey !== false,
    cookies: Boolean(cookies),
    admin: admins.length > 0,
  });
  if (throttleLogins) {
    const { prototype } = SessionsController;
    const description = '`too_many_requests`: try again after Retry-After seconds';
    for (const name of ['login', 'reauthenticate']) {
      const route = Object.getOwnPropertyDescriptor(prototype, name) as PropertyDescriptor;
      ApiTooManyRequestsResponse({ description })(prototype, name, route);
    }
  }
  const config = new DocumentBuilder()
    .setTitle('Sample application of nestjs-multisession')
    .setDescription(djangoCompat ? DJANGO_NOTE : '')
    .addBearerAuth()
    .addCookieAuth('__Host-session-access')
    .build();
  SwaggerModule.setup('docs', app, () => SwaggerModule.createDocument(app, config));
}
