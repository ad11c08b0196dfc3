import type { ExecutionContext } from '@nestjs/common';

export const ACCESS_RULE = 'multi-session:access-rule';
export const ALLOWED_TYPES = 'multi-session:allowed-types';
export const RECENT_LOGIN = 'multi-session:recent-login';
export const DEVICE_PROOF = 'multi-session:device-proof';

/** How `JwtAuthGuard` treats a route. Default: `required`. */
export type AccessRule = 'required' | 'optional' | 'public';

/** The rules that the decorators of one handler and its class set. There is one object per handler and class. */
export interface RouteRules {
  readonly access: AccessRule;
  /** Session types that may pass, in capitals. Default: every type may pass. */
  readonly types?: ReadonlySet<string>;
  /** Maximum age of the login, in milliseconds. Default: no maximum. */
  readonly recentLogin?: number;
  /** Maximum age of the device's last proof, in milliseconds. Default: none is needed. */
  readonly deviceProof?: number;
  /** Why the decorators contradict each other, and what to do. */
  readonly contradiction?: string;
}

// A cache: decorators never change after start, and reading metadata costs more than reading a map.
const cache = new WeakMap<object, WeakMap<object, RouteRules>>();

/** Returns the rules of the handler of a call. */
export function rulesOf(context: ExecutionContext): RouteRules {
  return rulesOfHandler(context.getHandler(), context.getClass());
}

/**
 * Returns the rules of a handler. A decorator on the method overrides the one on the class.
 *
 * @param handler the method
 * @param controller the class of the controller, gateway or resolver, which may be a subclass of the one with the method
 */
export function rulesOfHandler(handler: object, controller: object): RouteRules {
  let ofHandler = cache.get(handler);
  if (!ofHandler) cache.set(handler, (ofHandler = new WeakMap()));
  let rules = ofHandler.get(controller);
  if (!rules) ofHandler.set(controller, (rules = readRules(handler, controller)));
  return rules;
}

function readRules(handler: object, controller: object): RouteRules {
  const read = <T>(key: string, target: object) => Reflect.getMetadata(key, target) as T | undefined;
  const ofEither = <T>(key: string) => read<T>(key, handler) ?? read<T>(key, controller);
  const access = ofEither<AccessRule>(ACCESS_RULE) ?? 'required';
  // The one open route of a restricted controller: the method deliberately overrides the class.
  const isException =
    read<AccessRule>(ACCESS_RULE, handler) === 'public' &&
    read(ALLOWED_TYPES, handler) === undefined &&
    read(RECENT_LOGIN, handler) === undefined &&
    read(DEVICE_PROOF, handler) === undefined;
  if (isException) return { access };
  const types = ofEither<string[]>(ALLOWED_TYPES);
  const recentLogin = ofEither<number>(RECENT_LOGIN);
  const deviceProof = ofEither<number>(DEVICE_PROOF);
  const restriction = restrictionOf(types, recentLogin, deviceProof);
  return {
    access,
    types: types && new Set(types),
    recentLogin,
    deviceProof,
    ...(restriction !== undefined &&
      access !== 'required' && {
        contradiction:
          `${nameOfHandler(handler, controller)}: ${restriction}() needs a session, but ` +
          `${access === 'public' ? '@Public' : '@OptionalSession'}() lets callers pass without one; ` +
          'remove one of them, or add @RequireSession() to the method',
      }),
  };
}

/** Returns the decorator that needs a session, if there is one. */
function restrictionOf(types: unknown, recentLogin: unknown, deviceProof: unknown): string | undefined {
  if (types !== undefined) return '@SessionTypes';
  if (recentLogin !== undefined) return '@RequireRecentLogin';
  return deviceProof === undefined ? undefined : '@RequireDeviceProof';
}

/** Returns the name of a handler for error messages, such as `NotesController.list`. */
export function nameOfHandler(handler: object, controller: object): string {
  return [controller, handler].map((target) => (target as { name?: string }).name).join('.');
}
