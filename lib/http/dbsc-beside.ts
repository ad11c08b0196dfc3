import { Controller, type ControllerOptions, type Type } from '@nestjs/common';
import { DbscController } from './dbsc.controller.js';
import { SessionsController } from './sessions.controller.js';

// Nest's own names of its metadata.
const OPTIONS: Readonly<Record<keyof ControllerOptions, string>> = {
  path: 'path',
  version: '__version__',
  host: 'host',
  scope: 'scope:options',
  durable: 'scope:options',
};

/**
 * Returns the controller of the routes that browsers call by themselves, under the path and version of the session routes. The
 * refresh cookie is sent to that path only.
 * @param controller the controller of the session routes
 */
export function dbscBeside(controller: Type): Type {
  if (controller === SessionsController) return DbscController;
  const metadata = (name: 'path' | 'version' | 'host') => Reflect.getMetadata(OPTIONS[name], controller) as never;
  class Beside extends DbscController {}
  Controller({ path: metadata('path'), version: metadata('version'), host: metadata('host') })(Beside);
  return Beside;
}
