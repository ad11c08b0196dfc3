import type { EndReason } from '../decisions.js';

/** Every text of the elements. Functions return text with a value in it. */
export interface SessionTexts {
  // The login.
  readonly logIn: string;
  readonly username: string;
  readonly password: string;
  readonly showPassword: string;
  readonly hidePassword: string;
  readonly keepLoggedIn: string;
  readonly usernameMissing: string;
  readonly passwordMissing: string;
  /** Translates what the server says about a field. */
  readonly fieldError: (message: string) => string;

  // Errors.
  readonly invalidCredentials: string;
  readonly sessionLimitReached: string;
  readonly csrfFailed: string;
  readonly unavailable: string;
  readonly unreachable: string;
  readonly notKept: string;
  readonly insecure: string;
  /** @param wait a duration, such as "42 seconds" */
  readonly tooManyAttempts: (wait: string) => string;
  readonly notPermitted: string;
  readonly unknownError: string;

  /** Why the user is logged out, by the reason of the client's state. */
  readonly ended: Readonly<Record<EndReason, string>>;
  /** The same, by the cause that the server gives. Without a text for a cause, that of `ended` is shown. */
  readonly endedBecause: Readonly<Partial<Record<string, string>>>;

  // The devices.
  readonly devices: string;
  readonly devicesLead: string;
  readonly logOut: string;
  readonly logOutOthers: string;
  readonly thisDevice: string;
  readonly unknownDevice: string;
  readonly browserOnSystem: (browser: string, system: string) => string;
  readonly activeNow: string;
  readonly justNow: string;
  /** @param ago a relative time, such as "5 minutes ago" */
  readonly lastUsed: (ago: string) => string;
  readonly sessionCount: (count: number) => string;
  readonly logOutDevice: (name: string) => string;
  readonly logOutSession: (name: string, time: string) => string;
  readonly logOutAllOf: (name: string, count: number) => string;
  readonly askDevice: (name: string) => string;
  readonly askAllOf: (name: string, count: number) => string;
  readonly askOthers: string;
  readonly askConsequence: string;
  readonly cancel: string;
  readonly deviceEnded: (name: string) => string;
  readonly othersEnded: (count: number) => string;

  // The details of a session.
  readonly loggedInAt: string;
  readonly lastUsedAt: string;
  readonly expiresAt: string;
  readonly changedAt: string;
  readonly address: string;
  readonly browser: string;
  /** The term for whether the session works only on its device. */
  readonly bound: string;
  /** That it does. */
  readonly boundToDevice: string;
  readonly description: string;
  readonly sessionType: string;
  readonly typeName: (type: string) => string;

  // The administration.
  readonly administration: string;
  readonly userId: string;
  readonly anyType: string;
  readonly since: string;
  readonly search: string;
  readonly noSessions: string;
  readonly more: string;
  readonly select: (name: string, user: string) => string;
  readonly selectAll: string;
  readonly endSelected: (count: number) => string;
  readonly endOfUser: (user: string) => string;
  readonly askSelected: (count: number) => string;
  readonly askOfUser: (user: string) => string;
  readonly adminConsequence: string;
  readonly endSessions: string;
  readonly sessionsEnded: (count: number) => string;
  readonly device: string;
  /** No session was found so far, and there are more to search. */
  readonly noneSoFar: string;
  /** Why a session ended, by the server's name of the reason. */
  readonly reasonName: (reason: string) => string;

  // The history of a user.
  readonly history: string;
  readonly historyOf: (user: string) => string;
  readonly noEvents: string;
  readonly eventName: (event: string) => string;
  /** Who caused an event. */
  readonly initiators: Readonly<Record<'user' | 'admin' | 'policy' | 'system', string>>;
  readonly close: string;

  // The statistics.
  readonly statistics: string;
  readonly activeSessions: string;
  readonly day: string;
  readonly logins: string;
  readonly endings: string;
  /** Describes the chart for screen readers. */
  readonly chart: (days: number, highest: number) => string;
  readonly dayCounts: (day: string, logins: number, endings: number) => string;
  readonly highest: (count: number) => string;
  readonly asTable: string;

  // What administrators did.
  readonly actions: string;
  readonly noActions: string;
  readonly actionName: (action: string) => string;
  readonly ofUser: (user: string) => string;
  readonly endedCount: (count: number) => string;

  // The deliveries of events.
  readonly deliveries: string;
  readonly waitingEvents: string;
  readonly deadLetters: string;
  readonly delay: string;
  readonly pausedUntil: string;
  readonly switchedOff: string;
  readonly showDeadLetters: string;
  readonly deliverAgain: string;
  readonly deliverEvent: (event: string, time: string) => string;
  readonly delivering: string;
  readonly time: string;
  readonly failedAt: string;
  readonly error: string;

  // The signing keys.
  readonly signingKeys: string;
  readonly keyState: string;
  readonly keyStates: Readonly<Record<'pending' | 'active' | 'replaced', string>>;
  readonly algorithm: string;
  readonly createdAt: string;
  readonly signsSince: string;
}
