/**
 * A constructor that returns its argument, so that a subclass adds its private fields to that object.
 *
 * The fields work like a `WeakMap`: only the subclass can read them, and a copy of the object does not have them. But a `WeakMap`
 * with an entry for each request costs the garbage collector so much that the guard would take twice as long.
 */
export const Target = function (target: object) {
  return target;
} as unknown as new (target: object) => object;
