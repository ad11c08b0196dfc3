import { createParamDecorator, type ExecutionContext } from '@nestjs/common';
import { sessionOf } from '../http/callers.js';

/**
 * Injects the user id of the administrator: that of the session which `JwtAuthGuard` or Passport has verified for this request.
 * Undefined if only guards of the application have identified the caller.
 */
// An explicit type, because the type that TypeScript infers with Nest 12 uses names that Nest 11 does not have.
export const Administrator: () => ParameterDecorator = createParamDecorator(
  (_: undefined, context: ExecutionContext) => sessionOf(context)?.userId,
);
