import { Expose, Transform, type TransformFnParams } from 'class-transformer';
import { registerDecorator, type ValidationArguments } from 'class-validator';

/** The group of the fields that are demanded only where the secret key is asked for, and is not in the header. */
export const SECRET_KEY_IN_BODY = 'secret-key-in-body';

/** The group of the refresh token, which is demanded in the body only where it does not travel in a cookie. */
export const REFRESH_IN_BODY = 'refresh-in-body';

interface TextRules {
  optional?: boolean;
  /** Whether U+FFFD is refused too: it stands where a name or an id was broken on its way. */
  name?: boolean;
  maxLength?: number;
  groups?: string[];
}

/** A field that is a string: exactly one text for whatever is wrong with it, in DRF's words. */
function Text(rules: TextRules = {}): PropertyDecorator {
  return (target, property) => {
    Expose()(target, property);
    registerDecorator({
      name: 'text',
      target: target.constructor,
      propertyName: property as string,
      options: {
        ...(rules.groups ? { groups: rules.groups } : { always: true }),
        message: (args: ValidationArguments) => faultOf(args.value, rules) ?? '',
      },
      validator: { validate: (value) => faultOf(value, rules) === undefined },
    });
  };
}

function faultOf(value: unknown, { optional, name, maxLength }: TextRules): string | undefined {
  if (value === undefined) return optional ? undefined : 'This field is required.';
  if (value === null) return 'This field may not be null.';
  if (typeof value !== 'string') return 'Not a valid string.';
  if (value.trim() === '') return 'This field may not be blank.';
  if (value.includes('\0')) return 'Null characters are not allowed.';
  if (name && (value.includes('\uFFFD') || !value.isWellFormed())) return 'Not a valid string.';
  if (maxLength !== undefined && value.length > maxLength)
    return `Ensure this field has no more than ${maxLength} characters.`;
  return undefined;
}

const Trim = () =>
  Transform(({ value }: TransformFnParams) => (typeof value === 'string' ? value.trim() : (value as unknown)));

/** The body of `login/`. `username` stands for the field that the option `usernameField` names. */
export class LoginDto {
  @Text({ name: true })
  username!: string;

  @Text()
  password!: string;

  @Text({ groups: [SECRET_KEY_IN_BODY] })
  secret_key?: string;

  @Text({ name: true })
  @Trim()
  session!: string;

  @Text({ optional: true })
  @Trim()
  info?: string;
}

/** The body of `refresh/`. */
export class RefreshDto {
  @Text({ groups: [REFRESH_IN_BODY] })
  refresh!: string;

  @Text({ groups: [SECRET_KEY_IN_BODY] })
  secret_key?: string;

  @Text({ name: true })
  @Trim()
  session!: string;
}

/** The body of `logout/`. */
export class LogoutDto {
  @Text({ groups: [SECRET_KEY_IN_BODY] })
  secret_key?: string;

  @Text({ groups: [REFRESH_IN_BODY] })
  refresh!: string;
}

/** The body of `reauthenticate/`. `username` as at login. */
export class ReauthenticateDto {
  @Text({ name: true })
  username!: string;

  @Text()
  password!: string;
}

/** The body of `list/`. */
export class ListDto {
  @Text({ name: true })
  @Trim()
  session!: string;
}

/** The body of `destroy/`. */
export class DestroyDto {
  @Text({ name: true })
  session_id!: string;
}

/** The body of `destroyAllOther/`. */
export class DestroyAllOtherDto {
  @Text({ name: true })
  @Trim()
  session!: string;

  @Text({ groups: [REFRESH_IN_BODY] })
  refresh!: string;
}

/** The answer of `login/`. The tokens are absent where they travel in cookies. */
export interface LoginAnswer {
  refresh?: string;
  access?: string;
  session_id: string;
}

/** The answer of `refresh/`: the tokens, `refresh` only where one is handed out; `session_id` alone where they travel in cookies. */
export interface RefreshAnswer {
  refresh?: string;
  access?: string;
  session_id?: string;
}

/** One session in the answer of `list/`; times are ISO 8601 in UTC. */
export interface ListedSession {
  session_id: string;
  created_at: string;
  last_update: string;
  expires_at: string;
  session_info: string;
}

/** The answer of `list/`: a part for each type asked for, named by the type with a capital first letter. */
export type ListAnswer = Record<string, { 'Available Sessions': string; Sessions: ListedSession[] }>;
