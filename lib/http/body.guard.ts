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
import { Reflector } from '@nestjs/core';
import { plainToInstance } from 'class-transformer';
import { validateSync } from 'class-validator';
import { ValidationFailedError } from '../errors.js';
import { SessionPolicies } from '../session/policies.js';
import { REFRESH_IN_BODY, SECRET_KEY_IN_BODY } from './body-fields.js';
import type { RouteContract } from './contract.js';
import { HTTP_CONFIG, type HttpConfig } from './options.js';
import { transportOf } from './refresh-transport.js';
import { type CredentialsCarrier, headerOf } from './request.js';
import { SECRET_KEY_HEADER } from './secret-key.guard.js';

interface BodyRule {
  readonly dto: Type<object>;
  readonly session?: RouteContract['session'];
}

const BODY_RULE = 'multi-session:body-rule';
const VALID_BODY = Symbol('multi-session:valid-body');

/** Tells `BodyGuard` which class the body of a route is, and what its field `session` may name. */
export const AcceptsBody = (dto: Type<object>, session?: RouteContract['session']): CustomDecorator =>
  SetMetadata(BODY_RULE, { dto, session } satisfies BodyRule);

/** Injects the validated body: an object of the route's DTO class, without any other members. */
export const ValidBody: () => ParameterDecorator = createParamDecorator(
  (_: undefined, context: ExecutionContext) =>
    context.switchToHttp().getRequest<{ [VALID_BODY]?: object }>()[VALID_BODY],
);

/**
 * Validates the body of a request.
 *
 * It is a guard and not a pipe, because Nest runs guards before pipes and the contract reports faulty fields before a wrong
 * secret key. It works with and without a `ValidationPipe` of the application.
 */
@Injectable()
export class BodyGuard implements CanActivate {
  constructor(
    private readonly reflector: Reflector,
    private readonly policies: SessionPolicies,
    @Inject(HTTP_CONFIG) private readonly config: HttpConfig,
  ) {}

  canActivate(context: ExecutionContext): boolean {
    const { dto, session } = this.reflector.get<BodyRule>(BODY_RULE, context.getHandler());
    const request = context.switchToHttp().getRequest<CredentialsCarrier & { [VALID_BODY]?: object }>();
    const body = this.validate(dto, this.membersOf(request), request) as { session: string };
    if (session === 'type') this.policies.named(body.session);
    if (session === 'type-or-all') this.policies.namedOrAll(body.session);
    request[VALID_BODY] = body;
    return true;
  }

  /** Reads the members of the body, with the user name under the name that the DTO has for it. */
  private membersOf(request: CredentialsCarrier): Record<string, unknown> {
    const { body } = request;
    const isJson = headerOf(request, 'content-type')?.toLowerCase().includes('json');
    // Without a body, or with one of a media type that is not parsed, every field is missing.
    if (body === undefined || (typeof body === 'string' && !isJson)) return {};
    if (body === null || typeof body !== 'object' || Array.isArray(body))
      throw new BadRequestException('The body must be a JSON object');
    // class-transformer would recurse into a deeply nested value until the stack overflows. Nested values are faulty anyway.
    const members = new Map(Object.entries(body).map(([name, value]: [string, unknown]) => [name, flat(value)]));
    const username = members.get(this.config.usernameField);
    members.delete('username');
    return Object.fromEntries([...members, ['username', username]]);
  }

  private validate(dto: Type<object>, members: Record<string, unknown>, request: CredentialsCarrier): object {
    const instance = plainToInstance(dto, members, { excludeExtraneousValues: true, exposeUnsetFields: false });
    const faults = validateSync(instance, {
      groups: this.groupsOf(request),
      stopAtFirstError: true,
      // If no group of a DTO is active, class-validator would take it for an unknown class and refuse it.
      forbidUnknownValues: false,
    });
    const errors = faults.map(
      ({ property, constraints = {} }) => [this.nameOf(property), Object.values(constraints)] as const,
    );
    if (transportOf(request, this.config) === undefined) errors.push(['X-Session-Transport', [this.transportFault()]]);
    const { info } = instance as { info?: unknown };
    if (typeof info === 'string' && isLongerThan(info, this.config.maxInfoLength)) {
      errors.push(['info', [`Ensure this field has no more than ${this.config.maxInfoLength} characters.`]]);
    }
    if (errors.length > 0) throw new ValidationFailedError(Object.fromEntries(errors));
    return instance;
  }

  /** Picks the validation groups: the fields that only some requests must have. */
  private groupsOf(request: CredentialsCarrier): string[] {
    // class-validator takes an empty list for "every group".
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

/** Counts code points, as databases do: an emoji is one, although a string has two code units for it. */
function isLongerThan(text: string, maxLength: number): boolean {
  return text.length > maxLength && [...text].length > maxLength;
}
