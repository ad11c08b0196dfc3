import {
  BadRequestException,
  type CanActivate,
  createParamDecorator,
  type CustomDecorator,
  type ExecutionContext,
  Inject,
  Injectable,
  SetMetadata,
  type Type,
} from '@nestjs/common';
import { ModulesContainer, Reflector } from '@nestjs/core';
import { plainToInstance } from 'class-transformer';
import { validateSync } from 'class-validator';
import { ValidationFailedError } from '../errors.js';
import { SessionPolicies } from '../session/policies.js';
import { REFRESH_IN_BODY, REQUIRED, SECRET_KEY_IN_BODY } from './body-fields.js';
import type { RouteContract } from './contract.js';
import { HTTP_CONFIG, type HttpConfig } from './options.js';
import { requiresTypeAtRefresh } from './required-type.js';
import { transportOf } from './refresh-transport.js';
import { type CredentialsCarrier, headerOf } from './request.js';
import { SECRET_KEY_HEADER } from './secret-key.guard.js';

interface BodyRule {
  readonly dto: Type<object>;
  readonly session?: RouteContract['session'];
}

const BODY_RULE = 'multi-session:body-rule';
const VALID_BODY = Symbol('multi-session:valid-body');

/** Sets the DTO class that `BodyGuard` validates a route's body against, and the values that its field `session` may have. */
export const AcceptsBody = (dto: Type<object>, session?: RouteContract['session']): CustomDecorator =>
  SetMetadata(BODY_RULE, { dto, session } satisfies BodyRule);

/** Injects the validated body: an instance of the route's DTO class, without undeclared members. */
export const ValidBody: () => ParameterDecorator = createParamDecorator(
  (_: undefined, context: ExecutionContext) =>
    context.switchToHttp().getRequest<{ [VALID_BODY]?: object }>()[VALID_BODY],
);

/**
 * Validates the body of a request.
 *
 * The contract reports faulty fields before a wrong secret key. A guard checks the key and Nest runs guards before pipes, so
 * validation must be a guard too. It works with or without a `ValidationPipe` of the application.
 */
@Injectable()
export class BodyGuard implements CanActivate {
  constructor(
    private readonly reflector: Reflector,
    private readonly policies: SessionPolicies,
    @Inject(HTTP_CONFIG) private readonly config: HttpConfig,
    private readonly modules: ModulesContainer,
  ) {}

  canActivate(context: ExecutionContext): boolean {
    const { dto, session } = this.reflector.get<BodyRule>(BODY_RULE, context.getHandler());
    const request = context.switchToHttp().getRequest<CredentialsCarrier & { [VALID_BODY]?: object }>();
    const body = this.validate({ dto, session }, this.membersOf(request), request) as { session: string };
    if (session === 'login-type') this.policies.namedForLogin(body.session);
    if (session === 'type' && body.session !== undefined) this.policies.named(body.session);
    if (session === 'type-or-all') this.policies.namedOrAll(body.session);
    request[VALID_BODY] = body;
    return true;
  }

  /** Reads the members of the body, and renames the field that the option `usernameField` names to `username`. */
  private membersOf(request: CredentialsCarrier): Record<string, unknown> {
    const { body } = request;
    const isJson = headerOf(request, 'content-type')?.toLowerCase().includes('json');
    // If there is no body, or its media type is not parsed, every field is reported as missing.
    if (body === undefined || (typeof body === 'string' && !isJson)) return {};
    if (body === null || typeof body !== 'object' || Array.isArray(body))
      throw new BadRequestException('The body must be a JSON object');
    // A deeply nested value would overflow the stack in class-transformer. No field accepts a nested value, so cut it off.
    const members = new Map(Object.entries(body).map(([name, value]: [string, unknown]) => [name, flat(value)]));
    const username = members.get(this.config.usernameField);
    members.delete('username');
    return Object.fromEntries([...members, ['username', username]]);
  }

  private validate({ dto, session }: BodyRule, members: Record<string, unknown>, request: CredentialsCarrier): object {
    const instance = plainToInstance(dto, members, { excludeExtraneousValues: true, exposeUnsetFields: false });
    const faults = validateSync(instance, {
      groups: this.groupsOf(request),
      stopAtFirstError: true,
      // Otherwise, class-validator treats a DTO without an active group as an unknown class and refuses it.
      forbidUnknownValues: false,
    });
    const errors = faults.map(
      ({ property, constraints = {} }) => [this.nameOf(property), Object.values(constraints)] as const,
    );
    if (session === 'type' && members.session === undefined && requiresTypeAtRefresh(this.modules))
      errors.push(['session', [REQUIRED]]);
    if (transportOf(request, this.config) === undefined) errors.push(['X-Session-Transport', [this.transportFault()]]);
    const { info } = instance as { info?: unknown };
    if (typeof info === 'string' && isLongerThan(info, this.config.maxInfoLength)) {
      errors.push(['info', [`Ensure this field has no more than ${this.config.maxInfoLength} characters.`]]);
    }
    if (errors.length > 0) throw new ValidationFailedError(Object.fromEntries(errors));
    return instance;
  }

  /** Picks the validation groups, which contain the fields that are required only of some requests. */
  private groupsOf(request: CredentialsCarrier): string[] {
    // Not an empty list: class-validator takes that as "every group".
    if (transportOf(request, this.config) === 'cookie') return ['none'];
    const needsSecretKey = this.config.secretKeys !== false && headerOf(request, SECRET_KEY_HEADER) === undefined;
    return needsSecretKey ? [REFRESH_IN_BODY, SECRET_KEY_IN_BODY] : [REFRESH_IN_BODY];
  }

  private transportFault(): string {
    return this.config.cookies ? 'Must be cookie or body.' : 'Must be body: this server does not use cookies.';
  }

  private nameOf(property: string): string {
    return property === 'username' ? this.config.usernameField : property;
  }
}

function flat(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutMembers);
  return withoutMembers(value);
}

function withoutMembers(value: unknown): unknown {
  return typeof value === 'object' && value !== null ? {} : value;
}

/** Counts code points, as databases do. An emoji is one code point, but two code units of a string. */
function isLongerThan(text: string, maxLength: number): boolean {
  return text.length > maxLength && [...text].length > maxLength;
}
