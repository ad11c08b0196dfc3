/**
 * Remembers who makes a call, between the guard that verified the session and the decorators and guards that ask for it.
 *
 * The session is kept in notes that only this file can read, never in a property of the call, because clients write some of
 * these objects: a handler of a microservice would read a `user` that the caller put into the payload. Below the object, each handler has an entry of its
 * own, so two messages of one socket do not share an identity, and neither do two fields of a GraphQL operation.
 */
import type { ExecutionContext } from '@nestjs/common';
import { Target } from '../binding/target.js';
import type { SessionClaims } from '../token/access-token.js';
import { graphqlCallOf } from './graphql-call.js';
import { type RouteRules, rulesOf } from './route-rules.js';

/** A handler, which its rules identify, or the name of a root field. */
type Place = RouteRules | string;

/** The callers of the handlers of one request, operation or socket. A request has one handler, so it needs no map. */
class Callers {
  private place?: Place;
  private session: SessionClaims | null = null;
  private others?: Map<Place, SessionClaims | null>;
  /** The session that Passport verified. A strategy knows the request, but not the handler. */
  verifiedByPassport?: SessionClaims;
  /** The callers of single messages, so that an object that several sockets share cannot mix them up. */
  ofMessages?: WeakMap<object, Callers>;

  /** Returns null if the guard found no caller, and undefined if no guard has run. */
  get(place: Place): SessionClaims | null | undefined {
    return this.place === place ? this.session : this.others?.get(place);
  }

  set(place: Place, session: SessionClaims | null): void {
    this.place ??= place;
    if (this.place === place) this.session = session;
    else (this.others ??= new Map<Place, SessionClaims | null>()).set(place, session);
  }
}

/**
 * Keeps the callers under an object for as long as the object lives.
 */
class Holder extends Target {
  readonly #callers = new Callers();

  static find(target: object): Callers | undefined {
    return #callers in target ? target.#callers : undefined;
  }

  static callersOf(target: object): Callers {
    return #callers in target ? target.#callers : new Holder(target).#callers;
  }
}

/** Where the caller of a call is kept. */
export interface Call {
  /** The object that holds the callers: a request, an operation, the context of a message or a socket. */
  readonly holder?: object;
  /** Whether the holder belongs to this call alone. A socket does not. */
  readonly isOwn: boolean;
  /** An object that belongs to one message on a socket. */
  readonly message?: object;
  /** The root field of a GraphQL operation under which this field is resolved. */
  readonly rootField?: string;
  /** Whether this field is the root field. */
  readonly isRoot?: boolean;
  /** The HTTP request that Passport knows. */
  readonly request?: object;
}

/**
 * Remembers the outcome of a guard.
 *
 * @param session null if the caller is anonymous or was refused. A later message on the same socket then has no identity
 */
export function rememberCaller(call: Call, rules: RouteRules, session: SessionClaims | null): void {
  const { holder, message, rootField, isRoot } = call;
  if (!holder) return;
  const callers = Holder.callersOf(holder);
  callers.set(rules, session);
  if (isRoot && rootField !== undefined) callers.set(rootField, session);
  if (message) callersOfMessage(callers, message).set(rules, session);
}

/** Remembers the session that a Passport strategy verified for an HTTP request. */
export function rememberPassportSession(request: object, session: SessionClaims): void {
  Holder.callersOf(request).verifiedByPassport = session;
}

/** Returns the session that another guard has verified for exactly this call, if there is one. */
export function verifiedCallerOf(call: Call, rules: RouteRules): SessionClaims | undefined {
  const known = ownCallers(call)?.get(rules);
  return known === undefined ? verifiedByPassport(call) : (known ?? undefined);
}

/**
 * Returns the session of the caller, as `JwtAuthGuard` or the Passport strategy has verified it for this handler. Use it in
 * guards and interceptors of your own that run after them. It works in every transport.
 *
 * In a field of a GraphQL type, it returns the session of the root field if no guard ran for the field itself.
 *
 * @returns undefined if the caller is anonymous, the handler is `@Public()`, or no guard has run
 */
export function sessionOf(context: ExecutionContext): SessionClaims | undefined {
  const rules = rulesOf(context);
  if (rules.access === 'public') return undefined;
  const call = callOf(context);
  const { holder, rootField, isRoot } = call;
  const callers = holder && Holder.find(holder);
  let known = ownCallers(call)?.get(rules);
  if (known === undefined) known = callers?.get(rules);
  if (known === undefined) known = verifiedByPassport(call);
  if (known === undefined && rootField !== undefined && !isRoot) known = callers?.get(rootField);
  return known ?? undefined;
}

function ownCallers({ holder, isOwn, message }: Call): Callers | undefined {
  if (!holder) return undefined;
  const callers = Holder.find(holder);
  return isOwn ? callers : message && callers?.ofMessages?.get(message);
}

function verifiedByPassport({ request }: Call): SessionClaims | undefined {
  return request && Holder.find(request)?.verifiedByPassport;
}

function callersOfMessage(callers: Callers, message: object): Callers {
  const ofMessages = (callers.ofMessages ??= new WeakMap());
  let ofMessage = ofMessages.get(message);
  if (!ofMessage) ofMessages.set(message, (ofMessage = new Callers()));
  return ofMessage;
}

/** Finds where the caller of a call is kept. Without a holder, it cannot be kept. */
export function callOf(context: ExecutionContext): Call {
  const args = context.getArgs<unknown[]>();
  switch (context.getType<string>()) {
    case 'http': {
      const request = objectIn(args[0]);
      return { holder: request, isOwn: true, request };
    }
    case 'graphql': {
      const { operation, rootField, isRoot, request } = graphqlCallOf(context);
      return { holder: operation, isOwn: true, rootField, isRoot, request };
    }
    case 'rpc':
      return { holder: objectIn(args[1]), isOwn: true };
    case 'ws': {
      // A message with an acknowledgement or with an object has something of its own. The others share an entry.
      const acknowledgement = typeof args[2] === 'function' ? args[2] : undefined;
      return { holder: objectIn(args[0]), isOwn: false, message: acknowledgement ?? objectIn(args[1]) };
    }
    default:
      // Most libraries pass the event or the client as the first object.
      return { holder: args.map(objectIn).find((arg) => arg !== undefined), isOwn: false };
  }
}

function objectIn(value: unknown): object | undefined {
  return (typeof value === 'object' && value !== null) || typeof value === 'function' ? value : undefined;
}
