import { type Answer, GRACE, type Row, type Rows, type Token } from './client-world.js';
import { carryOut, judge, policyOf } from './rotation-model.js';

/** What the server does with refresh tokens. A test replaces a part of it. */
export interface ServerRules {
  /** Answers a refresh. In cookies, the answer has the refresh token in any case. */
  refresh(rows: Rows, presented: Token | null, isCookie: boolean): { rows: Rows; answer: Answer };
  /** Answers `renew/`, with which a renderer gets an access token, by the refresh cookie of the page's request. */
  renew(rows: Rows, presented: Token): { rows: Rows; access?: Token };
}

const policy = policyOf({ refreshTokenLifetime: '1h' });

const withId = ({ generation }: Token) => ({ id: generation, generation });

/** Asks the project for its verdict on a token. */
export const verdictOn = ({ server, age }: Row, token: Token) =>
  judge(policy, { ...server, graces: age / GRACE }, withId(token)).kind;

/** The server as designed. */
export const SERVER: ServerRules = {
  refresh(rows, presented, isCookie) {
    const row = presented && rows[presented.session];
    if (!row) return { rows, answer: { status: 401, code: 'session_not_found' } };
    const { session } = presented;
    const verdict = verdictOn(row, presented);
    const done = carryOut(verdict, row.server, withId(presented));
    if (!done) return { rows: { ...rows, [session]: null }, answer: { status: 401, code: 'token_not_valid' } };
    const { server, answer, isNew } = done;
    const isHandedOut = isCookie ? verdict !== 'hold' : answer;
    const token = isHandedOut ? { session, generation: server.current.generation } : undefined;
    return {
      rows: { ...rows, [session]: { server, age: isNew ? 0 : row.age } },
      answer: { status: 200, session, token },
    };
  },

  // Of the presented generation, never above it. It rotates, recovers and ends nothing.
  renew(rows, presented) {
    const row = rows[presented.session];
    return !row || verdictOn(row, presented) === 'reuse' ? { rows } : { rows, access: presented };
  },
};
