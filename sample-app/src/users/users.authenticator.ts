import { Inject, Injectable, Logger } from '@nestjs/common';
import { InjectRepository } from '@nestjs/typeorm';
import {
  type AuthenticatedUser,
  type Credentials,
  type MultiSessionOptions,
  UnavailableError,
  UserAuthenticator,
  type UserId,
} from 'nestjs-multisession';
import { In, Repository } from 'typeorm';
import { hashPassword, isOwnHash, isPasswordOf } from './passwords.js';
import { User } from './user.entity.js';

/** The option `userIdType`. */
export const USER_ID_TYPE = Symbol('USER_ID_TYPE');
export type UserIdType = NonNullable<MultiSessionOptions['userIdType']>;

/** Connects the library to this application's users. */
@Injectable()
export class UsersAuthenticator extends UserAuthenticator {
  constructor(
    @InjectRepository(User) private readonly users: Repository<User>,
    @Inject(USER_ID_TYPE) private readonly userIdType: UserIdType,
  ) {
    super();
  }

  async authenticate({ username, password }: Credentials): Promise<AuthenticatedUser | null> {
    const user = await orUnavailable(this.users.findOneBy({ username }));
    // A database that pads with spaces also finds "bob" for "bob ".
    const named = user?.username === username ? user : null;
    const isRight = await isPasswordOf(named?.passwordHash, password);
    if (!isRight || !named?.active) return null;
    if (!isOwnHash(named.passwordHash)) await this.rehash(named, password);
    return this.identified(named);
  }

  /** Replaces a hash that was moved from Django, unless the password has been changed in the meantime. */
  private async rehash({ id, passwordHash: old }: User, password: string): Promise<void> {
    const passwordHash = await hashPassword(password);
    await orUnavailable(this.users.update({ id, passwordHash: old }, { passwordHash }));
  }

  override async findActive(userId: UserId): Promise<AuthenticatedUser | null> {
    const key = this.userIdType === 'number' ? { id: Number(userId) } : { textId: String(userId) };
    const user = await orUnavailable(this.users.findOneBy({ ...key, active: true }));
    const found = user && this.identified(user);
    return found?.id === userId ? found : null;
  }

  override async describeUsers(userIds: readonly UserId[]): Promise<ReadonlyMap<UserId, string>> {
    const key = this.userIdType === 'number' ? { id: In(userIds.map(Number)) } : { textId: In(userIds.map(String)) };
    const users = await orUnavailable(this.users.findBy(key));
    return new Map(users.map((user) => [this.identified(user).id, user.username]));
  }

  override async searchUsers(name: string, limit: number): Promise<UserId[]> {
    // `!` also escapes itself. PostgreSQL and MariaDB take a backslash for an escape by default, and SQLite does not.
    const pattern = `%${name.toLowerCase().replace(/[%_!]/g, '!$&')}%`;
    const found = this.users
      .createQueryBuilder('user')
      .where("LOWER(user.username) LIKE :pattern ESCAPE '!'", { pattern })
      .andWhere(this.userIdType === 'number' ? '1 = 1' : 'user.textId IS NOT NULL')
      .orderBy('user.username')
      .limit(limit);
    return (await orUnavailable(found.getMany())).map((user) => this.identified(user).id);
  }

  /** Returns the id that the user's sessions have. */
  private identified({ id, textId, username }: User): AuthenticatedUser {
    if (this.userIdType === 'number') return { id };
    if (textId === null) throw new Error(`the user "${username}" has no text_id, which userIdType: 'string' needs`);
    return { id: textId };
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
