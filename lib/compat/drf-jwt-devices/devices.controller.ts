import {
  Controller,
  Delete,
  Get,
  HttpCode,
  Inject,
  Param,
  Post,
  Req,
  Res,
  UseGuards,
  UseInterceptors,
} from '@nestjs/common';
import { AnswerHeadersInterceptor } from '../../http/answer-headers.interceptor.js';
import { CurrentSession, Public, RequireSession } from '../../http/decorators.js';
import { HTTP_CONFIG, type HttpConfig } from '../../http/options.js';
import { JwtAuthGuard } from '../../http/jwt-auth.guard.js';
import { RefreshTransport } from '../../http/refresh-transport.js';
import { type CredentialsCarrier, headerOf } from '../../http/request.js';
import { SecretKeyGuard } from '../../http/secret-key.guard.js';
import { SessionNotFoundError, ValidationFailedError } from '../../errors.js';
import { clientInfoOf } from '../../session/client-info.js';
import type { SessionClaims } from '../../token/access-token.js';
import type { Session } from '../../session/session.js';
import { SessionPolicies } from '../../session/policies.js';
import { SessionService } from '../../session/service.js';
import { describeUserAgent } from '../../session/user-agent.js';
import { PermitsPermanentToken } from './permitted-headers.guard.js';

/** One device in the answer of `GET devices`; times are ISO 8601 in UTC. The names are those of drf-jwt-devices. */
export interface DeviceAnswer {
  id: string;
  created: string;
  /** `X-Device-Model`, else what the user agent says of itself. */
  name: string;
  /** The user agent, as it was sent. */
  details: string;
  /** Within the policy's `touchInterval`. */
  last_request_datetime: string;
}

const DEVICE_ID = 'Device-Id';

/** The routes of drf-jwt-devices. A device is a session of a permanent type; `login/` makes it. Off unless asked for. */
@Controller()
@UseInterceptors(AnswerHeadersInterceptor)
export class DevicesController {
  @Inject(SessionService) protected readonly sessions!: SessionService;
  @Inject(SessionPolicies) private readonly policies!: SessionPolicies;
  @Inject(RefreshTransport) private readonly transport!: RefreshTransport;
  @Inject(HTTP_CONFIG) private readonly config!: HttpConfig;

  /** Gives a new access token for the permanent token in its header. */
  @Post('device-refresh-token')
  @HttpCode(200)
  @Public()
  @PermitsPermanentToken()
  @UseGuards(SecretKeyGuard)
  async refresh(@Req() request: CredentialsCarrier): Promise<{ token: string }> {
    const token = requiredHeader(request, this.config.permanentTokenHeader);
    const { access } = await this.sessions.refresh(token, { permanent: true, client: clientInfoOf(request) });
    return { token: access };
  }

  /** Ends the device that the header `Device-Id` names. */
  @Delete('device-logout')
  @HttpCode(204)
  @RequireSession()
  @UseGuards(JwtAuthGuard)
  async logout(
    @CurrentSession() current: SessionClaims,
    @Req() request: CredentialsCarrier,
    @Res({ passthrough: true }) response: unknown,
  ): Promise<void> {
    await this.end(requiredHeader(request, DEVICE_ID), 'logout', current, request, response);
  }

  /** The caller's devices, the earliest first. */
  @Get('devices')
  @RequireSession()
  @UseGuards(JwtAuthGuard)
  async list(@CurrentSession('userId') userId: SessionClaims['userId']): Promise<DeviceAnswer[]> {
    const lists = await this.sessions.list(userId);
    const devices = lists.filter(({ type }) => this.isPermanent(type)).flatMap(({ sessions }) => sessions);
    return devices.sort(byCreation).map(deviceAnswer);
  }

  /** Ends one of the caller's devices. */
  @Delete('devices/:id')
  @HttpCode(204)
  @RequireSession()
  @UseGuards(JwtAuthGuard)
  async endDevice(
    @Param('id') id: string,
    @CurrentSession() current: SessionClaims,
    @Req() request: CredentialsCarrier,
    @Res({ passthrough: true }) response: unknown,
  ): Promise<void> {
    await this.end(id, 'destroyed', current, request, response);
  }

  private async end(
    id: string,
    reason: 'logout' | 'destroyed',
    { userId, sessionId }: SessionClaims,
    request: CredentialsCarrier,
    response: unknown,
  ): Promise<void> {
    const device = await this.sessions.get(id);
    if (!device || !this.isPermanent(device.type)) throw new SessionNotFoundError();
    await this.sessions.destroy(id, { userId, reason });
    if (id === sessionId) this.transport.clear(request, response);
  }

  private isPermanent(type: string): boolean {
    return this.policies.get(type)?.config.permanent === true;
  }
}

/** Of two in one millisecond, as the ids have it. */
function byCreation(a: Session, b: Session): number {
  return a.createdAt.getTime() - b.createdAt.getTime() || (a.id < b.id ? -1 : 1);
}

function requiredHeader(request: CredentialsCarrier, name: string): string {
  const value = headerOf(request, name.toLowerCase())?.trim();
  if (value) return value;
  throw new ValidationFailedError({ [name]: ['This header is required.'] });
}

function deviceAnswer({ id, createdAt, deviceName, userAgent, lastUpdate }: Session): DeviceAnswer {
  return {
    id,
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
