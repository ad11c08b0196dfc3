import { DEMO_USERS, publicDemoUser } from './demo.js';
import type { Environment } from './environment.js';

/**
 * Describes the running application: its address and how to log in. It shows only what is public: no secret, and no password
 * that somebody chose.
 *
 * @param port the port that it listens on
 * @param variables the environment variables
 */
export function announcement(
  { host, https, sessions, demoUsers }: Environment,
  port: number,
  variables: Readonly<Record<string, string | undefined>>,
): string {
  const isLoopback = host === 'localhost' || host.startsWith('127.') || host === '::1';
  const url = `http${https ? 's' : ''}://${isLoopback || /^[0.:]+$/.test(host) ? '127.0.0.1' : host.includes(':') ? `[${host}]` : host}:${port}`;
  const lines = [
    `The sample application listens on ${url}, with Swagger UI at ${url}/docs`,
    `Open ${url}/ in a browser to see your devices`,
  ];
  const user = publicDemoUser(demoUsers);
  if (user) {
    const { username, password } = user;
    const body = {
      [sessions.usernameField ?? 'username']: username,
      password,
      session: Object.keys(sessions.policies)[0],
      info: 'curl',
    };
    const path = (sessions.path ?? 'api/session').replace(/^\/+|\/+$/g, '');
    const login = `${[url, path].filter(Boolean).join('/')}/login/`;
    // The shell puts the key in, so that it is in no log.
    const key = sessions.secretKey === false ? '' : ` -H "X-Secret-Key: $SESSION_SECRET_KEY"`;
    lines.push(
      '',
      `Demo user: ${username}, password: ${password}`,
      'Log in:',
      '',
      `  curl ${quoted(login)} -H 'Content-Type: application/json'${key} -d ${quoted(JSON.stringify(body))}`,
      '',
    );
  }
  if (sessions.jwt.secret !== undefined && !variables.JWT_SECRET)
    lines.push('Warning: all tokens end with this process, because JWT_SECRET is not set.');
  if (!isLoopback && demoUsers === DEMO_USERS)
    lines.push('Warning: the demo passwords are public, and other machines can reach this application.');
  return lines.join('\n');
}

/** Quotes a text as one word for a POSIX shell. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}
