import { type DynamicModule, Module } from '@nestjs/common';
import { TypeOrmModule } from '@nestjs/typeorm';
import { ADMINS } from './administrator.guard.js';
import { User } from './user.entity.js';
import { USER_ID_TYPE, type UserIdType, UsersAuthenticator } from './users.authenticator.js';

@Module({})
export class UsersModule {
  /**
   * @param userIdType which of a user's ids the sessions have
   * @param admins the names of the administrators
   */
  static with(userIdType: UserIdType, admins: readonly string[]): DynamicModule {
    return {
      module: UsersModule,
      imports: [TypeOrmModule.forFeature([User])],
      providers: [
        UsersAuthenticator,
        { provide: USER_ID_TYPE, useValue: userIdType },
        { provide: ADMINS, useValue: admins },
      ],
      exports: [UsersAuthenticator, ADMINS],
    };
  }
}
