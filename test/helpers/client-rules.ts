import {
  afterCookies,
  afterRefusal,
  isTooLate,
  mayTake,
  meaningOfRefresh,
  newest,
  nextEpoch,
  type SessionRecord,
  supersedes,
  takesLogin,
} from '../../client/src/decisions.js';

/** The decisions of the client, and the order of its steps. A test replaces one of them to see what it is good for. */
export const CLIENT = {
  afterCookies,
  afterRefusal,
  isTooLate,
  mayTake,
  meaningOfRefresh,
  newest: newest<SessionRecord | null>,
  nextEpoch,
  supersedes,
  takesLogin,
  /** Whether a tab stores an answer before it uses it. */
  storesFirst: true,
};

export type ClientRules = typeof CLIENT;
