import type { ModulesContainer } from '@nestjs/core';

/** The applications whose `refresh/` requires the field `session`. */
const requiring = new WeakSet<ModulesContainer>();

/**
 * Makes the field `session` of `refresh/` required in an application, as it is in simplejwt_multisessions.
 * @param modules of the application
 */
export function requireTypeAtRefresh(modules: ModulesContainer): void {
  requiring.add(modules);
}

/** Whether the application requires the field `session` of `refresh/`. */
export function requiresTypeAtRefresh(modules: ModulesContainer): boolean {
  return requiring.has(modules);
}
