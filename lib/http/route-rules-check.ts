import { Injectable, type OnModuleInit } from '@nestjs/common';
import { MetadataScanner, ModulesContainer } from '@nestjs/core';
import { MultiSessionConfigurationError } from '../errors.js';
import { nameOfHandler, rulesOfHandler } from './route-rules.js';

// Names of @nestjs/graphql, which is not a dependency of this library.
const GRAPHQL_OPTIONS = 'GqlModuleOptions';
const GRAPHQL_FIELD = ['graphql:resolve_property', 'graphql:resolve_reference'];

interface GraphqlOptions {
  readonly fieldResolverEnhancers?: readonly string[];
}

/** Makes the start fail if the decorators of a handler contradict each other, or if no guard can enforce them. */
@Injectable()
export class RouteRulesCheck implements OnModuleInit {
  constructor(private readonly modules: ModulesContainer) {}

  /**
   * Checks the handlers of the whole application.
   * @throws MultiSessionConfigurationError that names every handler with a fault
   */
  onModuleInit(): void {
    const faults = this.classes().flatMap((controller) => this.faultsOf(controller));
    if (faults.length > 0) throw new MultiSessionConfigurationError([...new Set(faults)]);
  }

  private classes(): object[] {
    const wrappers = [...this.modules.values()].flatMap(({ controllers, providers }) => [
      ...controllers.values(),
      ...providers.values(),
    ]);
    return wrappers.map(({ metatype, instance }) => classOf(metatype, instance)).filter((found) => found !== undefined);
  }

  private faultsOf(controller: object): string[] {
    const prototype = (controller as { prototype: Record<string, object> }).prototype;
    return new MetadataScanner().getAllMethodNames(prototype).flatMap((name) => {
      const handler = prototype[name];
      const { contradiction, types, recentLogin, deviceProof } = rulesOfHandler(handler, controller);
      if (contradiction !== undefined) return [contradiction];
      const isRestricted = [types, recentLogin, deviceProof].some((rule) => rule !== undefined);
      if (!isRestricted || !isGraphqlField(handler) || this.guardsRunOnFields()) return [];
      return [
        `${nameOfHandler(handler, controller)}: Nest runs no guard for a field, so @SessionTypes(), @RequireRecentLogin() and ` +
          "@RequireDeviceProof() would do nothing; put them on the queries and mutations, or set fieldResolverEnhancers: ['guards'] in GraphQLModule",
      ];
    });
  }

  private guardsRunOnFields(): boolean {
    const options = [...this.modules.values()]
      .map(({ providers }) => providers.get(GRAPHQL_OPTIONS)?.instance as GraphqlOptions | undefined)
      .filter((found) => found !== undefined);
    return options.every(({ fieldResolverEnhancers = [] }) => fieldResolverEnhancers.includes('guards'));
  }
}

/** Finds the class with the handlers. A provider that a factory returned has it as the constructor of its instance. */
function classOf(metatype: unknown, instance: unknown): object | undefined {
  return [metatype, constructorOf(instance)].find((found): found is new () => object => {
    return typeof found === 'function' && typeof found.prototype === 'object' && found !== Object;
  });
}

function constructorOf(instance: unknown): unknown {
  try {
    return (instance as object | null | undefined)?.constructor;
  } catch {
    // A proxy that works only during a request. Its handlers are those of another provider.
    return undefined;
  }
}

function isGraphqlField(handler: object): boolean {
  return GRAPHQL_FIELD.some((key) => Reflect.hasMetadata(key, handler));
}
