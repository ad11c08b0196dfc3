import { Injectable, Logger } from '@nestjs/common';
import { InjectRepository } from '@nestjs/typeorm';
import { type Credentials, UnavailableError, UserAuthenticator, type UserId } from 'nestjs-multisession';
import { Repository } from 'typeorm';
import { isPasswordOf } from './passwords.js';
import { User } from './user.entity.js';

/** Tells the sessions who this application's users are. */
@Injectable()
export class UsersAuthenticator extends UserAuthenticator<User> {
  constructor(@InjectRepository(User) private readonly users: Repository<User>) {
    super();
  }

  async authenticate({ username, password }: Credentials): Promise<User | null> {
    const user = await orUnavailable(this.users.findOneBy({ username }));
    // Databases that pad with spaces find «bob» for «bob ».
    const named = user?.username === username ? user : null;
    const isRight = await isPasswordOf(named?.passwordHash, password);
    return isRight && named?.active ? named : null;
  }

  override findActive(userId: UserId): Promise<User | null> {
    return orUnavailable(this.users.findOneBy({ id: Number(userId), active: true }));
  }
}

const logger = new Logger('Users');

/** A database that is away is no wrong password: 503, so that clients keep their tokens and try again. */
async function orUnavailable<T>(query: Promise<T>): Promise<T> {
  try {
    return await query;
  } catch (error) {
    logger.error(`the users could not be read: ${(error as Error).message}`);
    throw new UnavailableError(error);
  }
}
