import { expect, test } from '@jest/globals';
import { METHOD_METADATA } from '@nestjs/common/constants.js';
import {
  AdminSessionsController,
  DevicesController,
  SessionManagementController,
  SessionsController,
} from 'nestjs-multisession';
import { ADMIN_ROUTES } from '../../../lib/admin/contract.js';
import { DEVICE_ROUTES } from '../../../lib/compat/drf-jwt-devices/contract.js';
import { type Contract, MANAGEMENT_ROUTES, SESSION_ROUTES } from '../../../lib/http/contract.js';

const CONTROLLERS: [name: string, prototype: object, routes: Contract][] = [
  ['SessionsController', SessionsController.prototype, SESSION_ROUTES],
  ['SessionManagementController', SessionManagementController.prototype, MANAGEMENT_ROUTES],
  ['DevicesController', DevicesController.prototype, DEVICE_ROUTES],
  ['AdminSessionsController', AdminSessionsController.prototype, ADMIN_ROUTES],
];

test.each(CONTROLLERS)('every route of %s is in its contract', (_name, prototype, routes) => {
  const handlers = Object.getOwnPropertyNames(prototype).filter((name) =>
    Reflect.hasMetadata(METHOD_METADATA, (prototype as Record<string, object>)[name]),
  );
  expect(handlers.sort()).toEqual(Object.keys(routes).sort());
});
