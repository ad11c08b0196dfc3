import { type IssuedSession, SessionEntity, type SessionService } from 'nestjs-multisession';
import { type DataSource, Like } from 'typeorm';

/** The operations that a client can repeat. Each uses a session type of its own. */
export const OPERATIONS = ['refresh', 'login', 'login at a limit', 'login of one user at a limit', 'verify'] as const;
export type Operation = (typeof OPERATIONS)[number];

/** A client of the service that repeats one operation. */
export interface Client {
  step(): Promise<void>;
  /**
   * Checks what the steps left in the database.
   * @throws Error if it is wrong
   */
  check?(): Promise<void>;
}

const LIMIT = 2;
/** Fewer than the option `maxSessions` allows by default. */
const LOGINS_PER_USER = 50;
const POLICY = { refreshTokenLifetime: '30d' } as const;
export const POLICIES = {
  REFRESH: { ...POLICY, reuseGrace: 0 },
  LOGIN: POLICY,
  LIMIT: { ...POLICY, maxActiveSessions: LIMIT },
  VERIFY: { ...POLICY, accessCheck: 'session' },
} as const;

/** Creates the clients of one process. */
export class Clients {
  /** Clients are reused from one measurement to the next. */
  private readonly known = new Map<string, Promise<Client>>();

  constructor(
    private readonly sessions: SessionService,
    private readonly dataSource: DataSource,
  ) {}

  /**
   * Returns a client, and creates it if necessary.
   * @param number a number that no other process uses at the same time
   */
  of(operation: Operation, number: number): Promise<Client> {
    const name = `${operation} ${number}`;
    const client = this.known.get(name) ?? this.make(operation, number);
    this.known.set(name, client);
    return client;
  }

  private async make(operation: Operation, number: number): Promise<Client> {
    switch (operation) {
      case 'refresh':
        return this.refreshing(`refresh ${number}`);
      case 'login':
        return this.loggingIn(`login ${process.pid} ${number}`);
      case 'login at a limit':
        return this.loggingInAtLimit(`limit ${number}`);
      case 'login of one user at a limit':
        return this.loggingInAtLimit('everybody');
      case 'verify':
        return this.verifying(`verify ${number}`);
    }
  }

  private async refreshing(userId: string): Promise<Client> {
    const { session, refresh: first } = await this.sessions.create(userId, { type: 'REFRESH' });
    let refresh = first;
    return {
      step: async () => {
        const answer = await this.sessions.refresh(refresh);
        if (answer.session.id !== session.id || answer.refresh === undefined || answer.refresh === refresh)
          throw new Error('the refresh did not rotate the token');
        refresh = answer.refresh;
      },
    };
  }

  private loggingIn(userId: string): Client {
    const rows = this.dataSource.getRepository(SessionEntity);
    let expected = 0;
    const next = () => `${userId}: ${Math.floor(expected++ / LOGINS_PER_USER)}`;
    return {
      step: async () => {
        const user = next();
        assertUser(await this.sessions.create(user, { type: 'LOGIN' }), user);
      },
      check: async () => assertCount(await rows.countBy({ userId: Like(`${userId}: %`) }), expected),
    };
  }

  private loggingInAtLimit(userId: string): Client {
    return {
      step: async () => assertUser(await this.sessions.create(userId, { type: 'LIMIT' }), userId),
      check: async () => {
        const [{ sessions: listed }] = await this.sessions.list(userId, { type: 'LIMIT' });
        assertCount(listed.length, LIMIT);
      },
    };
  }

  private async verifying(userId: string): Promise<Client> {
    const { access } = await this.sessions.create(userId, { type: 'VERIFY' });
    return {
      step: async () => {
        const current = await this.sessions.verify(access);
        if (current.userId !== userId) throw new Error(`expected the user ${userId}, found ${current.userId}`);
      },
    };
  }
}

function assertUser({ session }: IssuedSession, userId: string): void {
  if (session.userId !== userId) throw new Error(`expected the user ${userId}, found ${session.userId}`);
}

function assertCount(found: number, expected: number): void {
  if (found !== expected) throw new Error(`expected ${expected} sessions, found ${found}`);
}
