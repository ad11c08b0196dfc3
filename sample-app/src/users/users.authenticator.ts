import { Injectable, Logger } from '@nestjs/common';
import { InjectRepository } from '@nestjs/typeorm';
import { type Credentials, UnavailableError, UserAuthenticator, type UserId } from 'nestjs-multisession';
import { Repository } from 'typeorm';
import { isPasswordOf } from './passwords.js';
import { User } from './user.entity.js';

/** Connects the library to this application's users. */
@Injectable()
export class UsersAuthenticator extends UserAuthenticator<User> {
  constructor(@InjectRepository(User) private readonly users: Repository<User>) {
    super();
  }

  async authenticate({ username, password }: Credentials): Promise<User | null> {
    const user = await orUnavailable(this.users.findOneBy({ username }));
    // A database that pads with spaces also finds "bob" for "bob ".
    const named = user?.username === username ? user : null;
    const isRight = await isPasswordOf(named?.passwordHash, password);
    return isRight && named?.active ? named : null;
  }

  override findActive(userId: UserId): Promise<User | null> {
    return orUnavailable(this.users.findOneBy({ id: Number(userId), active: true }));
  }
}

const logger = new Logger('Users');

/** Answers 503 if the database cannot be reached, so that clients keep their tokens and retry. */
async function orUnavailable<T>(query: Promise<T>): Promise<T> {
  try {
    return await query;
  } catch (error) {
    logger.error(`Cannot read the users: ${(error as Error).message}`);
    throw new UnavailableError(error);
  }
}
