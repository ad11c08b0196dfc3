import type { RevokedSessions } from '../../lib/revocation/revoked-sessions.js';

/** Whether memory holds exactly the sessions that have ended: all of them, and as of now. */
export const isFresh = (revoked: RevokedSessions): boolean => revoked.isComplete && revoked.isUpToDate();
