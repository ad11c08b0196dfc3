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
import { HTTP_CONFIG, type HttpConfig } from './options.js';
import { keepResponse, transportOf } from './refresh-transport.js';
import { type CredentialsCarrier, headerOf } from './request.js';
import { SECRET_KEY_HEADER } from './secret-key.guard.js';

interface BodyRule {
  readonly dto: Type<object>;
  /** What the field `session` may name. */
  readonly session?: 'type' | 'type-or-all';
}

const BODY_RULE = 'multi-session:body-rule';
const VALID_BODY = Symbol('multi-session:valid-body');

/** Says which DTO the body of a route is, and what its field `session` may name, for `BodyGuard`. */
export const AcceptsBody = (dto: Type<object>, session?: BodyRule['session']): CustomDecorator =>
  SetMetadata(BODY_RULE, { dto, session } satisfies BodyRule);

/** The body as `BodyGuard` has checked it: an instance of the route's DTO, without any further fields. */
export const ValidBody: () => ParameterDecorator = createParamDecorator(
  (_: undefined, context: ExecutionContext) =>
    context.switchToHttp().getRequest<{ [VALID_BODY]?: object }>()[VALID_BODY],
);

/**
 * Checks a body before the guards behind it run, since the contract names faulty fields before a wrong secret key, and Nest
 * runs guards before pipes. It depends on no ValidationPipe of the application, and does not mind one.
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
    const body = this.validate(dto, this.fieldsOf(request), request) as { session: string };
    if (session === 'type') this.policies.named(body.session);
    if (session === 'type-or-all') this.policies.namedOrAll(body.session);
    request[VALID_BODY] = body;
    keepResponse(context);
    return true;
  }

  /** The body's own members, the user name under the name that the DTO has for it. */
  private fieldsOf(request: CredentialsCarrier): Record<string, unknown> {
    const { body } = request;
    const isJson = headerOf(request, 'content-type')?.toLowerCase().includes('json');
    // No body, or one of a media type that is not read, lacks every field; any other JSON value is not what was asked for.
    if (body === undefined || (typeof body === 'string' && !isJson)) return {};
    if (body === null || typeof body !== 'object' || Array.isArray(body))
      throw new BadRequestException('The body must be a JSON object');
    // A field is a text, a list of texts, or faulty; class-transformer would follow a deeply nested one until the stack is full.
    const fields = new Map(Object.entries(body).map(([name, value]: [string, unknown]) => [name, flat(value)]));
    const { usernameField } = this.config;
    const username = fields.get(usernameField);
    fields.delete('username');
    return Object.fromEntries([...fields, ['username', username]]);
  }

  private validate(dto: Type<object>, fields: Record<string, unknown>, request: CredentialsCarrier): object {
    const instance = plainToInstance(dto, fields, { excludeExtraneousValues: true, exposeUnsetFields: false });
    const faults = validateSync(instance, {
      groups: this.groupsOf(request),
      stopAtFirstError: true,
      // A body of which nothing is demanded is unknown to class-validator, and right.
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

  /** The fields that are demanded here and not everywhere. */
  private groupsOf(request: CredentialsCarrier): string[] {
    if (transportOf(request, this.config) === 'cookie') return ['none'];
    const askSecretKey = this.config.secretKeys !== false && headerOf(request, SECRET_KEY_HEADER) === undefined;
    return askSecretKey ? [REFRESH_IN_BODY, SECRET_KEY_IN_BODY] : [REFRESH_IN_BODY];
  }

  private transportFault(): string {
    return this.config.cookies ? 'Must be cookie or body.' : 'Must be body: cookies are not offered here.';
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

/** In characters as people and databases count them: one outside the BMP is one, though a string has two code units for it. */
function isLongerThan(text: string, most: number): boolean {
  return text.length > most && [...text].length > most;
}
