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
export const Text = (rules: TextRules = {}): PropertyDecorator =>
  field('text', (value) => textFault(value, rules), rules.groups);

/** A field that is a list of strings. @param rules.maxLength how many */
export const TextList = (rules: { maxLength: number }): PropertyDecorator =>
  field('text-list', (value) => listFault(value, rules.maxLength));

/** Takes the spaces around a text away before it is checked. */
export const Trim = (): PropertyDecorator =>
  Transform(({ value }: TransformFnParams) => (typeof value === 'string' ? value.trim() : (value as unknown)));

function field(name: string, faultOf: (value: unknown) => string | undefined, groups?: string[]): PropertyDecorator {
  return (target, property) => {
    Expose()(target, property);
    registerDecorator({
      name,
      target: target.constructor,
      propertyName: property as string,
      options: {
        ...(groups ? { groups } : { always: true }),
        message: (args: ValidationArguments) => faultOf(args.value) ?? '',
      },
      validator: { validate: (value) => faultOf(value) === undefined },
    });
  };
}

function textFault(value: unknown, { optional, name, maxLength }: TextRules): string | undefined {
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

function listFault(value: unknown, maxLength: number): string | undefined {
  if (value === undefined) return 'This field is required.';
  if (value === null) return 'This field may not be null.';
  if (!Array.isArray(value)) return 'Expected a list of items.';
  if (value.length > maxLength) return `Ensure this field has no more than ${maxLength} elements.`;
  for (const item of value as unknown[]) {
    const fault = textFault(item, { name: true });
    if (fault !== undefined) return fault;
  }
  return undefined;
}
