import type { CanActivate, ModuleMetadata, Type } from '@nestjs/common';
import { AdminSessionsController } from '../admin/admin-sessions.controller.js';
import { DevicesController } from '../compat/drf-jwt-devices/devices.controller.js';
import type { MultiSessionStaticOptions } from '../engine/options.js';
import { SessionManagementController } from '../http/session-management.controller.js';
import { SessionsController } from '../http/sessions.controller.js';
import { boolean, checkObject, kindOf, type OptionFaults, optional, show, text } from '../option-check.js';

/** The options of Nest's own `forRootAsync`, besides `imports`. */
const FACTORY_KEYS = ['useFactory', 'useClass', 'useExisting', 'inject', 'provideInjectionTokensFrom'] as const;

type Check<T> = (value: unknown, name: string, faults: OptionFaults) => T;

/** The check of each static option. */
export const STATIC_CHECKS: { [K in keyof MultiSessionStaticOptions]-?: Check<MultiSessionStaticOptions[K]> } = {
  authenticator: optional(readAuthenticator),
  sessionTypes: optional(readTypes),
  path: optional(readPath),
  controller: optional(subclassOr(SessionsController, false)),
  management: optional(subclassOr(SessionManagementController, false)),
  devices: optional(subclassOr(DevicesController, false, true)),
  loginGuards: optional(readGuards),
  admin: optional(readAdmin),
  signals: optional(boolean),
  eventStreams: optional(boolean),
  dataSource: optional(text),
  isGlobal: optional(boolean),
  imports: optional(readImports),
};

/** Checks the static options among the options of `forRoot`, and adds what is wrong to `faults`. */
export function checkStaticOptions(given: object, faults: OptionFaults): void {
  for (const [name, check] of Object.entries(STATIC_CHECKS)) {
    void check((given as Record<string, unknown>)[name], name, faults);
  }
}

/** Checks the options of `forRootAsync`, which are static options and a factory. */
export function checkAsyncOptions(given: object, faults: OptionFaults): void {
  const known: readonly string[] = [...Object.keys(STATIC_CHECKS), ...FACTORY_KEYS];
  for (const key of Object.keys(given).filter((name) => !known.includes(name))) {
    faults.add(key, `is not a static option, so return it from the factory; static options are ${known.join(', ')}`);
  }
  const { sessionTypes, useFactory, useClass, useExisting } = given as Record<string, unknown>;
  checkStaticOptions(given, faults);
  if (sessionTypes === undefined || (Array.isArray(sessionTypes) && sessionTypes.length === 0)) {
    faults.add(
      'sessionTypes',
      "is missing; name the session types beside the factory, for example sessionTypes: ['SHORT', 'LONG']",
    );
  }
  if ((useFactory ?? useClass ?? useExisting) === undefined)
    faults.add('useFactory', 'is missing; give useFactory, useClass or useExisting, which provides the values');
  if (useFactory !== undefined && typeof useFactory !== 'function')
    faults.add('useFactory', `must be a function that returns the values; got ${show(useFactory)}`);
  if (useClass !== undefined && typeof useClass !== 'function')
    faults.add('useClass', `must be a class with a method create; got ${show(useClass)}`);
}

function readAuthenticator(value: unknown, name: string, faults: OptionFaults): never {
  const remedy = 'give { useClass }, { useExisting } or { useFactory, inject }';
  const before = faults.list.length;
  const { useClass, useExisting, useFactory, inject } = checkObject<Record<string, unknown>>(value, name, faults, {
    useClass: (given) => given,
    useExisting: (given) => given,
    useFactory: (given) => given,
    inject: (given) => given,
    scope: (given) => given,
    durable: optional(boolean),
  });
  if (faults.list.length > before) {
    if (typeof value === 'function') faults.add(name, `${remedy}, for example { useClass: ${value.name} }`);
    return value as never;
  }
  const ways = [useClass, useExisting, useFactory].filter((way) => way !== undefined);
  if (ways.length !== 1) faults.add(name, `must have one of useClass, useExisting and useFactory; ${remedy}`);
  for (const [key, given] of Object.entries({ useClass, useFactory })) {
    if (given !== undefined && typeof given !== 'function')
      faults.add(`${name}.${key}`, `must be a ${key === 'useClass' ? 'class' : 'function'}; got ${show(given)}`);
  }
  if (useExisting !== undefined && !['function', 'string', 'symbol'].includes(typeof useExisting))
    faults.add(`${name}.useExisting`, `must be a class or another injection token; got ${show(useExisting)}`);
  if (inject !== undefined && !Array.isArray(inject))
    faults.add(`${name}.inject`, `must be a list of injection tokens; got ${show(inject)}`);
  return value as never;
}

function readTypes(value: unknown, name: string, faults: OptionFaults): string[] {
  if (!Array.isArray(value)) {
    faults.add(name, `must be a list of the names in policies; got ${show(value)}`);
    return [];
  }
  return value.map((type, at) => text(type, `${name}[${at}]`, faults));
}

function readPath(value: unknown, name: string, faults: OptionFaults): string {
  if (typeof value === 'string' && !/[\s?#]/.test(value)) return value;
  faults.add(name, `must be a path such as 'api/session', or '' for none; got ${show(value)}`);
  return '';
}

/** A check for a subclass of a controller, or one of some other values. */
function subclassOr<C extends Type, const O extends boolean>(controller: C, ...others: readonly O[]): Check<C | O> {
  return (value, name, faults) => {
    if (isSubclass(value, controller) || others.includes(value as O)) return value as C | O;
    const choices = [`a subclass of ${controller.name}`, ...others.map(String)].join(' or ');
    faults.add(name, `must be ${choices}; got ${show(value)}`);
    return others[0];
  };
}

function isSubclass(value: unknown, controller: Type): boolean {
  return value === controller || (typeof value === 'function' && value.prototype instanceof controller);
}

function readGuards(value: unknown, name: string, faults: OptionFaults): Type<CanActivate>[] {
  if (!Array.isArray(value)) {
    faults.add(name, `must be a list of guard classes; got ${show(value)}`);
    return [];
  }
  value.forEach((guard: unknown, at) => {
    if (typeof guard !== 'function')
      faults.add(`${name}[${at}]`, `must be a guard class, which Nest instantiates; got ${show(guard)}`);
  });
  return value as Type<CanActivate>[];
}

function readAdmin(value: unknown, name: string, faults: OptionFaults): never {
  checkObject<Record<string, unknown>>(value, name, faults, {
    guard: (guard, at) => {
      // Without a guard, everybody would be an administrator.
      const isMissing = guard === undefined || guard === null || (Array.isArray(guard) && guard.length === 0);
      if (!isMissing) readGuards([guard].flat(), at, faults);
      else faults.add(at, 'is missing; name the guard class that lets administrators pass and refuses all others');
    },
    controller: optional(subclassOr(AdminSessionsController)),
  });
  return value as never;
}

function readImports(value: unknown, name: string, faults: OptionFaults): ModuleMetadata['imports'] {
  if (!Array.isArray(value)) {
    faults.add(name, `must be a list of modules; got ${show(value)}`);
    return [];
  }
  value.forEach((module: unknown, at) => {
    const isModule = typeof module === 'function' || (typeof module === 'object' && module !== null);
    if (!isModule)
      faults.add(
        `${name}[${at}]`,
        `must be a module; got ${kindOf(module)}. If it is undefined, two files import each other: use forwardRef`,
      );
  });
  return value as ModuleMetadata['imports'];
}
