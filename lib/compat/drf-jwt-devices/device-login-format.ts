import { Injectable } from '@nestjs/common';
import { LoginAnswerFormat } from '../../http/login-answer-format.js';
import type { FormattedLogin } from '../../http/sessions.dto.js';
import { SessionPolicies } from '../../session/policies.js';
import type { IssuedSession } from '../../session/new-session.js';
import type { DeviceLoginAnswer } from './devices.dto.js';

/** Answers a login to a permanent session type as drf-jwt-devices does. */
@Injectable()
export class DeviceLoginFormat extends LoginAnswerFormat {
  constructor(private readonly policies: SessionPolicies) {
    super();
  }

  format({ session, access, refresh }: IssuedSession): FormattedLogin | undefined {
    if (!this.policies.isPermanent(session.type)) return undefined;
    return { token: access, permanent_token: refresh, device_id: session.id } satisfies DeviceLoginAnswer;
  }
}
