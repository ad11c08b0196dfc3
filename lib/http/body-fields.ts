import { applyDecorators } from '@nestjs/common';
import { Expose, Transform, type TransformFnParams } from 'class-transformer';
import {
  ArrayMaxSize,
  IsArray,
  IsBoolean,
  IsDefined,
  IsString,
  Matches,
  NotEquals,
  ValidateIf,
  type ValidationArguments,
  type ValidationOptions,
} from 'class-validator';
import { Field, type Schema } from './schema.js';

/** Validation group: the body must have `secret_key`, because the secret key is required and not in the header. */
export const SECRET_KEY_IN_BODY = 'secret-key-in-body';

/** Validation group: the body must have the refresh token, because it does not travel in a cookie. */
export const REFRESH_IN_BODY = 'refresh-in-body';

// The error messages of Django REST framework, word for word.
/** The fault of a field that is missing. */
export const REQUIRED = 'This field is required.';
const NULL = 'This field may not be null.';
const NOT_A_STRING = 'Not a valid string.';
const BLANK = 'This field may not be blank.';
const NUL_CHARACTER = 'Null characters are not allowed.';
const NOT_A_BOOLEAN = 'Must be a valid boolean.';
const NOT_A_LIST = 'Expected a list of items.';

/** A text that is not blank and has no NUL character. */
const PLAIN = /^(?=\s*\S)[^\0]*$/u;

/** Like `PLAIN`, but without lone surrogates, and without U+FFFD, which decoders put in place of broken bytes. */
const WELL_FORMED = /^(?=\s*\S)[^\0\uFFFD\p{Surrogate}]*$/u;

interface TextRules extends Schema {
  /** Whether the field may be absent. Default: false. */
  readonly optional?: true;
  /** Whether the text is a name or an id. It must then be well-formed Unicode without U+FFFD. Default: false. */
  readonly isName?: true;
  /** The validation groups that require the field. Default: it is always validated. */
  readonly groups?: string[];
}

/**
 * Declares a field that holds a string that is not blank.
 *
 * class-validator runs the validators in the order of this list and stops at the first fault, so each field gets at most one
 * error message.
 */
export function Text({ optional, isName, groups, ...schema }: TextRules): PropertyDecorator {
  const applies: ValidationOptions = groups ? { groups } : { always: true };
  return applyDecorators(
    Field({ type: 'string', ...schema }, { optional, groups }),
    Expose(),
    ...(optional ? [ValidateIf((_body, value) => value !== undefined, applies)] : []),
    IsDefined({ ...applies, message: requiredOrNull }),
    ...textValidators(applies, isName),
  );
}

/**
 * Declares a field that holds a list of names or ids.
 * @param rules.maxItems the maximum number of items
 */
export function TextList(rules: Schema & { readonly maxItems: number }): PropertyDecorator {
  const tooMany = `Ensure this field has no more than ${rules.maxItems} elements.`;
  return applyDecorators(
    Field({ type: 'array', ...rules }),
    Expose(),
    IsDefined({ always: true, message: requiredOrNull }),
    IsArray({ always: true, message: NOT_A_LIST }),
    ArrayMaxSize(rules.maxItems, { always: true, message: tooMany }),
    NotEquals(null, { always: true, each: true, message: NULL }),
    ...textValidators({ always: true, each: true }, true),
  );
}

/** Declares an optional field that holds true or false. */
export function Flag(schema: Schema): PropertyDecorator {
  return applyDecorators(
    Field({ type: 'boolean', ...schema }, { optional: true }),
    Expose(),
    ValidateIf((_body, value) => value !== undefined, { always: true }),
    IsBoolean({ always: true, message: NOT_A_BOOLEAN }),
  );
}

/** Removes surrounding white space before the field is validated. */
export function Trim(): PropertyDecorator {
  return Transform(({ value }: TransformFnParams) => (typeof value === 'string' ? value.trim() : (value as unknown)));
}

/** Validates a text with a single pattern, because each validator adds some microseconds to every request. */
function textValidators(applies: ValidationOptions, isName = false): PropertyDecorator[] {
  return [
    IsString({ ...applies, message: NOT_A_STRING }),
    Matches(isName ? WELL_FORMED : PLAIN, { ...applies, message: faultOfText }),
  ];
}

function faultOfText({ value }: ValidationArguments): string {
  const texts = [value].flat() as string[];
  if (texts.some((text) => text.trim() === '')) return BLANK;
  return texts.some((text) => text.includes('\0')) ? NUL_CHARACTER : NOT_A_STRING;
}

function requiredOrNull({ value }: ValidationArguments): string {
  return value === null ? NULL : REQUIRED;
}
