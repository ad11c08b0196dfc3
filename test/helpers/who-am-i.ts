import { Controller, Get, UseGuards } from '@nestjs/common';
import { JwtAuthGuard } from 'nestjs-multisession';

/** Serves `GET /me` behind the guard, for tests that only show an access token. */
@Controller()
export class WhoAmI {
  @Get('me')
  @UseGuards(JwtAuthGuard)
  me() {
    return {};
  }
}
