import { Controller, Get, UseGuards } from '@nestjs/common';
import { ApiBearerAuth, ApiOkResponse, ApiOperation, ApiTags, ApiUnauthorizedResponse } from '@nestjs/swagger';
import { CurrentSession, JwtAuthGuard, type UserId } from 'nestjs-multisession';

/** A route of the application itself, for users who are logged in. */
@ApiTags('me')
@Controller('api/me')
export class MeController {
  @Get()
  @UseGuards(JwtAuthGuard)
  @ApiBearerAuth()
  @ApiOperation({ summary: 'Returns the current user' })
  @ApiOkResponse({
    description: 'The current user',
    schema: {
      type: 'object',
      properties: { user_id: { oneOf: [{ type: 'integer' }, { type: 'string' }] } },
      required: ['user_id'],
    },
  })
  @ApiUnauthorizedResponse({
    description: '`not_authenticated`, `bad_authorization_header`, `token_not_valid`: see the session routes',
  })
  me(@CurrentSession('userId') userId: UserId): { user_id: UserId } {
    return { user_id: userId };
  }
}
