import { MetadataScanner, type ModulesContainer } from '@nestjs/core';
import { MultiSessionConfigurationError } from '../errors.js';
import type { DurableEvent } from '../outbox/durable-event.js';
import { EventHandler } from '../outbox/event-handler.js';
import { handledEvents } from '../outbox/on-session-event.js';

type Methods = Record<string, (event: DurableEvent) => unknown>;

/** The length of the column, without the prefix. */
const MAX_NAME = 100;

/**
 * Finds the methods of all providers and controllers that are marked with `@OnSessionEvent`.
 * @param isOn whether the option `events` is set
 * @throws MultiSessionConfigurationError if it is not set and there are handlers, or one of them cannot be called
 */
export function eventHandlersIn(modules: ModulesContainer, isOn: boolean): EventHandler[] {
  const scanner = new MetadataScanner();
  const faults: string[] = [];
  const handlers = new Map<string, EventHandler>();
  const seen = new Set<unknown>();
  for (const module of modules.values()) {
    for (const { metatype, instance, isDependencyTreeStatic } of wrappersOf(module)) {
      const prototype = prototypeOf(instance, metatype);
      if (!prototype) continue;
      for (const method of scanner.getAllMethodNames(prototype)) {
        const events = handledEvents((prototype as Methods)[method]);
        if (!events || seen.has(instance)) continue;
        const name = `${prototype.constructor.name}.${method}`;
        if (!isOn) faults.push(`events: ${name} handles events, but the option is not set; set events: true`);
        else if (!isDependencyTreeStatic || !instance)
          faults.push(`events: ${name} handles events, but its provider has a scope; use the default scope`);
        else if (name.length > MAX_NAME || handlers.has(name))
          faults.push(`events: ${name} needs another name: it is used twice, or has more than ${MAX_NAME} characters`);
        else handlers.set(name, new EventHandler(name, events, (event) => (instance as Methods)[method](event)));
      }
      if (instance) seen.add(instance);
    }
  }
  if (faults.length > 0) throw new MultiSessionConfigurationError(faults);
  return [...handlers.values()];
}

function* wrappersOf(module: NonNullable<ReturnType<ModulesContainer['get']>>) {
  for (const wrapper of [...module.providers.values(), ...module.controllers.values()]) {
    yield {
      metatype: wrapper.metatype as unknown,
      instance: wrapper.instance,
      isDependencyTreeStatic: wrapper.isDependencyTreeStatic() && !wrapper.isTransient,
    };
  }
}

function prototypeOf(instance: unknown, metatype: unknown): object | undefined {
  if (typeof instance === 'object' && instance !== null) return Object.getPrototypeOf(instance) as object;
  if (typeof metatype === 'function') return metatype.prototype as object | undefined;
  return undefined;
}
