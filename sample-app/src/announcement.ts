import { DEMO_JWT_SECRET, DEMO_SECRET_KEY } from './demo.js';
import type { Environment } from './environment.js';

/**
 * Describes the running application: its address and how to log in.
 *
 * @param port the port that it listens on
 */
export function announcement({ sessions, demoUsers }: Environment, port: number): string {
  const url = `http://127.0.0.1:${port}`;
  const lines = [
    `The sample application listens on ${url}, with Swagger UI at ${url}/docs`,
    `Open ${url}/ in a browser to see your devices`,
  ];
  const user = demoUsers.find(({ active }) => active);
  if (user) {
    const { username, password } = user;
    const secretKey = [sessions.secretKey].flat()[0];
    const body = {
      [sessions.usernameField ?? 'username']: username,
      password,
      ...(secretKey !== false && { secret_key: secretKey }),
      session: Object.keys(sessions.policies)[0],
      info: 'curl',
    };
    const path = (sessions.path ?? 'api/session').replace(/^\/+|\/+$/g, '');
    const login = `${[url, path].filter(Boolean).join('/')}/login/`;
    lines.push(
      '',
      `Demo user: ${username}, password: ${password}`,
      'Log in:',
      '',
      `  curl ${quoted(login)} -H 'Content-Type: application/json' -d ${quoted(JSON.stringify(body))}`,
      '',
    );
  }
  const { jwt, secretKey } = sessions;
  if (jwt.secret === DEMO_JWT_SECRET || secretKey === DEMO_SECRET_KEY) {
    lines.push('Warning: the demo secrets are public. Set JWT_SECRET and SESSION_SECRET_KEY.');
  }
  return lines.join('\n');
}

/** Quotes a text as one word for a POSIX shell. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}
