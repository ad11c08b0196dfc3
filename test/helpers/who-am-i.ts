import { Controller, Get, UseGuards } from '@nestjs/common';
import { JwtAuthGuard } from 'nestjs-multisession';

/** `GET /me`, behind the guard, for what uses an access token and nothing else. */
@Controller()
export class WhoAmI {
  @Get('me')
  @UseGuards(JwtAuthGuard)
  me() {
    return {};
  }
}
