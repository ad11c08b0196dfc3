import { type CanActivate, type ExecutionContext, Injectable, Optional } from '@nestjs/common';
import { ModuleRef } from '@nestjs/core';
import { DeviceProofRequiredError, MultiSessionConfigurationError } from '../errors.js';
import { sessionOf } from './callers.js';
import { credentialsCarrierOf } from './credentials.js';
import { DeviceProofs } from './device-proofs.js';
import { rulesOf } from './route-rules.js';
import { transportErrorOf } from './transport-errors.js';

/**
 * Lets a call pass only if its device has proved its key recently enough: see `@RequireDeviceProof`. It runs after
 * `JwtAuthGuard`, which has identified the session.
 * @internal
 */
@Injectable()
export class DeviceProofGuard implements CanActivate {
  constructor(
    @Optional() private proofs?: DeviceProofs,
    @Optional() private readonly moduleRef?: ModuleRef,
  ) {}

  canActivate(context: ExecutionContext): boolean | Promise<boolean> {
    const { deviceProof } = rulesOf(context);
    if (deviceProof === undefined) return true;
    const session = sessionOf(context);
    const carrier = credentialsCarrierOf(context);
    // With DPoP, the guard has verified a proof that was made for this very request.
    if (session?.confirmation !== undefined) return true;
    if (session && carrier && this.complete().isProvenWithin(carrier, session.sessionId, deviceProof)) return true;
    const error = new DeviceProofRequiredError();
    const converted = transportErrorOf(context.getType<string>(), error);
    if (converted) return converted.then((exception) => Promise.reject(exception));
    throw error;
  }

  /** Returns the part that the guard works with, also if `MultiSessionModule` is not global. */
  private complete(): DeviceProofs {
    this.proofs ??= this.moduleRef?.get(DeviceProofs, { strict: false });
    if (this.proofs) return this.proofs;
    throw new MultiSessionConfigurationError([
      '@RequireDeviceProof needs MultiSessionModule; import it into the application',
    ]);
  }
}
