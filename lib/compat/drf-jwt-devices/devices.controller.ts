import { Controller, Inject, Param, Req, UseInterceptors } from '@nestjs/common';
import { SessionNotFoundError, ValidationFailedError } from '../../errors.js';
import { AnswerHeadersInterceptor } from '../../http/answer-headers.interceptor.js';
import { clientInfoOf } from '../../http/client-info.js';
import type { Handlers } from '../../http/contract.js';
import { CurrentSession } from '../../http/decorators.js';
import { DpopTransport } from '../../http/dpop-transport.js';
import { trimOws } from '../../http/header-text.js';
import { HTTP_CONFIG, type HttpConfig } from '../../http/options.js';
import { RefreshTransport } from '../../http/refresh-transport.js';
import { type CredentialsCarrier, headerOf } from '../../http/request.js';
import { ResponseInterceptor } from '../../http/response.interceptor.js';
import { OldSessionIds } from '../../session/old-session-ids.js';
import { SessionPolicies } from '../../session/policies.js';
import { SessionService } from '../../session/service.js';
import type { SessionSummary } from '../../session/session.js';
import { describeUserAgent } from '../../session/user-agent.js';
import type { SessionClaims } from '../../token/access-token.js';
import type { DEVICE_ROUTES } from './contract.js';
import { DeviceRoute } from './device-route.js';
import type { DeviceAnswer, DeviceTokenAnswer } from './devices.dto.js';
import { PermitsPermanentToken } from './permitted-headers.guard.js';

const DEVICE_ID = 'Device-Id';

/** The system whose numeric ids these routes show and take besides our own. */
const OLD_SYSTEM = 'drf-jwt-devices';

/**
 * The routes of drf-jwt-devices. A device is a session of a permanent type, and `login/` starts it. The routes exist only if
 * the option `devices` is set.
 */
@Controller()
@UseInterceptors(AnswerHeadersInterceptor, ResponseInterceptor)
export class DevicesController implements Handlers<typeof DEVICE_ROUTES> {
  @Inject(SessionService) protected readonly sessions!: SessionService;
  @Inject(SessionPolicies) private readonly policies!: SessionPolicies;
  @Inject(RefreshTransport) private readonly transport!: RefreshTransport;
  @Inject(DpopTransport) private readonly dpop!: DpopTransport;
  @Inject(OldSessionIds) private readonly oldIds!: OldSessionIds;
  @Inject(HTTP_CONFIG) private readonly config!: HttpConfig;

  /** Issues a new access token for the permanent token in the header. */
  @DeviceRoute('refresh')
  @PermitsPermanentToken()
  async refresh(@Req() request: CredentialsCarrier): Promise<DeviceTokenAnswer> {
    const token = requiredHeader(request, this.config.permanentTokenHeader);
    const { access, refresh } = await this.sessions.refresh(token, {
      permanent: true,
      transport: 'body',
      client: clientInfoOf(request),
      proof: this.dpop.atRefresh(request),
      request,
    });
    // The service also hands out a permanent token that has not changed, so that its cookie gets a new expiry.
    return refresh === undefined || refresh === token ? { token: access } : { token: access, permanent_token: refresh };
  }

  /** Ends the device that the header `Device-Id` names. */
  @DeviceRoute('logout')
  async logout(@CurrentSession() current: SessionClaims, @Req() request: CredentialsCarrier): Promise<void> {
    await this.end(requiredHeader(request, DEVICE_ID), 'logout', current, request);
  }

  /** Lists the caller's devices, the oldest first. */
  @DeviceRoute('list')
  async list(@CurrentSession('userId') userId: SessionClaims['userId']): Promise<DeviceAnswer[]> {
    const lists = await this.sessions.list(userId, { brief: true });
    const devices = lists.filter(({ type }) => this.policies.isPermanent(type)).flatMap(({ sessions }) => sessions);
    const oldIds = await this.oldIds.oldIdsOf(OLD_SYSTEM, devices, userId);
    return devices.sort(byCreation).map((device) => deviceAnswer(device, oldIds.get(device.id)));
  }

  /** Ends one of the caller's devices. */
  @DeviceRoute('endDevice')
  async endDevice(
    @Param('id') id: string,
    @CurrentSession() current: SessionClaims,
    @Req() request: CredentialsCarrier,
  ): Promise<void> {
    await this.end(id, 'destroyed', current, request);
  }

  private async end(
    id: string,
    reason: 'logout' | 'destroyed',
    { userId, sessionId }: SessionClaims,
    request: CredentialsCarrier,
  ): Promise<void> {
    const ended = await this.oldIds.resolve(OLD_SYSTEM, id, userId);
    const device = await this.sessions.get(ended);
    if (!device || !this.policies.isPermanent(device.type)) throw new SessionNotFoundError();
    await this.sessions.destroy(ended, { userId, reason });
    if (ended === sessionId) this.transport.clear(request);
  }
}

/** Compares by time of creation. Within one millisecond, it compares by id, because ids ascend in the order of creation. */
function byCreation(a: SessionSummary, b: SessionSummary): number {
  return a.createdAt.getTime() - b.createdAt.getTime() || (a.id < b.id ? -1 : 1);
}

function requiredHeader(request: CredentialsCarrier, name: string): string {
  const value = trimOws(headerOf(request, name.toLowerCase()) ?? '');
  if (value) return value;
  throw new ValidationFailedError({ [name]: ['This header is required.'] });
}

function deviceAnswer(device: SessionSummary, oldId: string | undefined): DeviceAnswer {
  const { id, createdAt, deviceName, userAgent, lastUpdate } = device;
  return {
    id: oldId === undefined ? id : Number(oldId),
    created: createdAt.toISOString(),
    name: deviceName ?? nameOf(userAgent),
    details: userAgent ?? '',
    last_request_datetime: lastUpdate.toISOString(),
  };
}

function nameOf(userAgent: string | null): string {
  const { browser, os } = describeUserAgent(userAgent);
  return [browser?.name, os?.name].filter((name) => name !== undefined).join(' on ') || (userAgent ?? '');
}
