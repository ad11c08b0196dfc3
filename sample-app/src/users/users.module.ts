import { Module } from '@nestjs/common';
import { TypeOrmModule } from '@nestjs/typeorm';
import { User } from './user.entity.js';
import { UsersAuthenticator } from './users.authenticator.js';

@Module({
  imports: [TypeOrmModule.forFeature([User])],
  providers: [UsersAuthenticator],
  exports: [UsersAuthenticator],
})
export class UsersModule {}
