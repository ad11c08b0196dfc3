import { randomBytes } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { JwtService } from '@nestjs/jwt';
import { DataSource } from 'typeorm';

const SESSIONS = 'simplejwt_multisessions_authenticationsession';
const YEAR = 365 * 86_400;

/** A session that the old server has begun. */
export interface OldSession {
  readonly userId: number;
  readonly refresh: string;
  readonly type: 'LONG';
}

/**
 * Stands in for a server with simplejwt_multisessions: issues and refreshes tokens by its rules, on its tables, with rotation
 * and blacklisting. `test/old-systems/README.md` describes the tables and tokens, which that package itself has filled.
 */
export class OldServer {
  private readonly jwt: JwtService;
  private isPaused = false;
  private inFlight = 0;

  private constructor(
    private readonly server: Server,
    private readonly database: DataSource,
    key: string,
  ) {
    this.jwt = new JwtService({ secret: key });
    server.on('request', (request, response) => void this.serve(request, response));
  }

  /** @param path the file of the SQLite database */
  static async start(path: string, key: string): Promise<OldServer> {
    const database = await new DataSource({ type: 'better-sqlite3', database: path }).initialize();
    // Lets the importer read while this server writes.
    await database.query('PRAGMA journal_mode = WAL');
    await database.query('PRAGMA synchronous = OFF');
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return new OldServer(server, database, key);
  }

  get url(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  /** Answers 503 from now on. Returns when no request is in flight. */
  async pause(): Promise<void> {
    this.isPaused = true;
    while (this.inFlight > 0) await new Promise((resolve) => setTimeout(resolve, 5));
  }

  resume(): void {
    this.isPaused = false;
  }

  async close(): Promise<void> {
    await new Promise((resolve) => {
      this.server.close(resolve);
      this.server.closeAllConnections();
    });
    await this.database.destroy();
  }

  /** Adds a user. */
  async addUser(id: number, username: string): Promise<void> {
    await this.database.query(
      `INSERT INTO auth_user (id, username, password, is_superuser, last_name, email, is_staff, is_active, date_joined, first_name)
       VALUES (?, ?, '!', 0, '', '', 0, 1, '2026-01-01 00:00:00', '')`,
      [id, username],
    );
  }

  /** Logs a user in. */
  async login(userId: number): Promise<OldSession> {
    const { token: refresh } = await this.issue(userId);
    const now = djangoTime(Date.now());
    await this.database.query(
      `INSERT INTO ${SESSIONS} (session_id, session, refresh, expiresAt, createdAt, lastUpdateDate, info, user_id)
       VALUES (?, 1, ?, ?, ?, ?, 'a test', ?)`,
      [
        `${refresh.slice(-10).toLowerCase()}-${userId}`,
        refresh,
        djangoTime(Date.now() + YEAR * 1000),
        now,
        now,
        userId,
      ],
    );
    return { userId, refresh, type: 'LONG' };
  }

  private async issue(userId: number): Promise<{ token: string; jti: string }> {
    const jti = randomBytes(16).toString('hex');
    const iat = Math.floor(Date.now() / 1000);
    const token = this.jwt.sign({ token_type: 'refresh', exp: iat + YEAR, iat, jti, user_id: userId });
    await this.database.query(
      'INSERT INTO token_blacklist_outstandingtoken (token, created_at, expires_at, user_id, jti) VALUES (?, ?, ?, ?, ?)',
      [token, djangoTime(iat * 1000), djangoTime((iat + YEAR) * 1000), userId, jti],
    );
    return { token, jti };
  }

  private async serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const answer = (status: number, body: object) => {
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
    };
    if (this.isPaused) return answer(503, { detail: 'moving' });
    this.inFlight++;
    try {
      const { refresh } = JSON.parse(await text(request)) as { refresh: string };
      const claims = this.verified(refresh);
      const [row] = claims ? await this.database.query(`SELECT id FROM ${SESSIONS} WHERE refresh = ?`, [refresh]) : [];
      if (!claims || !row || (await this.isBlacklisted(claims.jti)))
        return answer(401, { detail: 'No active account found with the given credentials' });
      if (request.url?.endsWith('/logout/')) {
        await this.database.query(`DELETE FROM ${SESSIONS} WHERE id = ?`, [row.id]);
        await this.blacklist(claims.jti);
        return answer(200, {});
      }
      const { token } = await this.issue(claims.user_id);
      await this.database.query(`UPDATE ${SESSIONS} SET refresh = ?, lastUpdateDate = ? WHERE id = ?`, [
        token,
        djangoTime(Date.now()),
        row.id,
      ]);
      await this.blacklist(claims.jti);
      const access = this.jwt.sign({ token_type: 'access', user_id: claims.user_id }, { expiresIn: 300 });
      return answer(200, { access, refresh: token });
    } catch (error) {
      return answer(500, { detail: String(error) });
    } finally {
      this.inFlight--;
    }
  }

  private verified(token: string): { jti: string; user_id: number } | undefined {
    try {
      return this.jwt.verify(token);
    } catch {
      return undefined;
    }
  }

  private async isBlacklisted(jti: string): Promise<boolean> {
    const found = await this.database.query(
      `SELECT 1 FROM token_blacklist_blacklistedtoken
       WHERE token_id IN (SELECT id FROM token_blacklist_outstandingtoken WHERE jti = ?)`,
      [jti],
    );
    return found.length > 0;
  }

  private async blacklist(jti: string): Promise<void> {
    await this.database.query(
      `INSERT INTO token_blacklist_blacklistedtoken (blacklisted_at, token_id)
       SELECT ?, id FROM token_blacklist_outstandingtoken WHERE jti = ?`,
      [djangoTime(Date.now()), jti],
    );
  }
}

/** Writes a time as Django does in SQLite. */
function djangoTime(time: number): string {
  return new Date(time).toISOString().slice(0, 23).replace('T', ' ');
}
