import type { SessionTexts } from './texts.js';

/** What the server says about fields, in German. */
const FIELD_ERRORS: readonly (readonly [of: RegExp, text: string])[] = [
  [/^This field (is required|may not be (blank|null))\.$/, 'Dieses Feld wird benötigt.'],
  [
    /^More than (\d+) users have this name\. Give more of it\.$/,
    'Mehr als $1 Benutzer haben diesen Namen. Geben Sie mehr davon an.',
  ],
  [/^Ensure this field has no more than (\d+) characters\.$/, 'Höchstens $1 Zeichen sind erlaubt.'],
];

/** Why sessions ended, in German. */
const REASONS: Readonly<Partial<Record<string, string>>> = {
  logout: 'abgemeldet',
  destroyed: 'von einem anderen Gerät oder der Anwendung beendet',
  evicted: 'zu viele Geräte',
  mismatch: 'unbekanntes Token',
  reuse: 'Token doppelt benutzt',
  expired: 'abgelaufen',
  'user-inactive': 'Konto nicht aktiv',
  reauthenticated: 'Passwort erneut geprüft',
  replaced: 'neue Anmeldung am selben Gerät',
  'binding-conflict': 'anderer Geräteschlüssel',
  'identity-provider': 'Identitätsanbieter',
  admin: 'Administration',
  failover: 'bei einer Umschaltung verloren',
};

/** What administrators do, in German. */
const ACTIONS: Readonly<Partial<Record<string, string>>> = {
  'end-session': 'Sitzung beendet',
  'end-user': 'Sitzungen eines Benutzers beendet',
  'end-all': 'Sitzungen aller Benutzer beendet',
  'replay-events': 'Ereignisse erneut zugestellt',
};

/** What happens to sessions, in German. */
const EVENTS: Readonly<Partial<Record<string, string>>> = {
  'session.created': 'Anmeldung',
  'session.ended': 'Sitzung beendet',
  'session.client-changed': 'Browser oder Netz gewechselt',
  'user.revoked': 'Alle Sitzungen beendet',
  'refresh.reused': 'Altes Token benutzt',
  'login.new-device': 'Anmeldung mit neuem Gerät',
};

/** The German texts. */
export const GERMAN: SessionTexts = {
  logIn: 'Anmelden',
  username: 'Benutzername',
  password: 'Passwort',
  showPassword: 'Passwort anzeigen',
  hidePassword: 'Passwort verbergen',
  keepLoggedIn: 'Angemeldet bleiben',
  usernameMissing: 'Geben Sie Ihren Benutzernamen ein.',
  passwordMissing: 'Geben Sie Ihr Passwort ein.',
  fieldError: (message) => {
    const [of, text] = FIELD_ERRORS.find(([pattern]) => pattern.test(message)) ?? [];
    return of && text ? message.replace(of, text) : message;
  },

  invalidCredentials: 'Benutzername oder Passwort ist falsch.',
  sessionLimitReached:
    'Sie sind bereits auf der höchsten Anzahl von Geräten angemeldet. Melden Sie zuerst eines davon ab.',
  csrfFailed: 'Der Server konnte nicht prüfen, ob die Anfrage von dieser Seite kam. Laden Sie sie neu.',
  unavailable: 'Der Server ist vorübergehend nicht verfügbar. Versuchen Sie es gleich noch einmal.',
  unreachable: 'Der Server ist nicht erreichbar. Neuer Versuch läuft …',
  notKept:
    'Ihr Browser hat die Cookies dieser Seite abgelehnt, daher sind Sie nicht angemeldet. Erlauben Sie Cookies und versuchen Sie es erneut.',
  insecure: 'Über unverschlüsseltes HTTP ist keine Anmeldung möglich. Öffnen Sie diese Seite über HTTPS.',
  tooManyAttempts: (wait) => `Zu viele Versuche. Versuchen Sie es in ${wait} erneut.`,
  notPermitted: 'Dazu sind Sie nicht berechtigt.',
  unknownError: 'Etwas ist schiefgegangen. Versuchen Sie es erneut.',

  ended: {
    logout: 'Sie sind abgemeldet.',
    expired: 'Ihre Sitzung ist abgelaufen. Melden Sie sich neu an.',
    revoked: 'Sie wurden abgemeldet. Melden Sie sich neu an.',
  },
  endedBecause: {
    evicted: 'Sie wurden abgemeldet, weil Sie auf zu vielen Geräten angemeldet waren. Melden Sie sich neu an.',
    admin: 'Sie wurden von der Administration abgemeldet.',
    reuse:
      'Sie wurden zu Ihrer Sicherheit abgemeldet: Jemand hat vielleicht Ihre Anmeldung kopiert. Melden Sie sich neu an.',
    'user-inactive': 'Sie wurden abgemeldet, weil Ihr Konto nicht aktiv ist.',
  },

  devices: 'Ihre Geräte',
  devicesLead:
    'Auf diesen Geräten sind Sie angemeldet. Ein Gerät ist Ihnen unbekannt? Melden Sie es ab und ändern Sie Ihr Passwort.',
  logOut: 'Abmelden',
  logOutOthers: 'Alle anderen Geräte abmelden',
  thisDevice: 'Dieses Gerät',
  unknownDevice: 'Unbekanntes Gerät',
  browserOnSystem: (browser, system) => `${browser} unter ${system}`,
  activeNow: 'Jetzt aktiv',
  justNow: 'gerade eben',
  lastUsed: (ago) => `Zuletzt benutzt ${ago}`,
  sessionCount: (count) => `${count} Sitzungen`,
  logOutDevice: (name) => `${name} abmelden`,
  logOutSession: (name, time) => `${name} abmelden, angemeldet am ${time}`,
  logOutAllOf: (name, count) => `Alle ${count} Sitzungen von ${name} abmelden`,
  askDevice: (name) => `${name} abmelden?`,
  askAllOf: (name, count) => `Alle ${count} Sitzungen von ${name} abmelden?`,
  askOthers: 'Alle anderen Geräte abmelden?',
  askConsequence: 'Für eine neue Anmeldung wird Ihr Passwort benötigt.',
  cancel: 'Abbrechen',
  deviceEnded: (name) => `${name} wurde abgemeldet.`,
  othersEnded: (count) =>
    count === 1 ? 'Ein anderes Gerät wurde abgemeldet.' : `${count} andere Geräte wurden abgemeldet.`,

  loggedInAt: 'Angemeldet',
  lastUsedAt: 'Zuletzt benutzt',
  expiresAt: 'Läuft ab',
  changedAt: 'Browser oder Netz gewechselt',
  address: 'Adresse',
  browser: 'Browser',
  bound: 'Schutz',
  boundToDevice: 'Funktioniert nur auf diesem Gerät',
  description: 'Beschreibung',
  sessionType: 'Typ',
  typeName: (type) => type,

  administration: 'Sitzungen',
  userId: 'Benutzer-ID',
  anyType: 'Jeder Typ',
  since: 'Angemeldet seit',
  search: 'Suchen',
  noSessions: 'Keine aktiven Sitzungen gefunden.',
  more: 'Mehr anzeigen',
  select: (name, user) => `${name} von Benutzer ${user} auswählen`,
  selectAll: 'Alle angezeigten auswählen',
  endSelected: (count) => (count === 1 ? 'Eine Sitzung beenden' : `${count} Sitzungen beenden`),
  endOfUser: (user) => `Alle Sitzungen von Benutzer ${user} beenden`,
  askSelected: (count) => (count === 1 ? 'Diese Sitzung beenden?' : `Diese ${count} Sitzungen beenden?`),
  askOfUser: (user) => `Alle Sitzungen von Benutzer ${user} beenden?`,
  adminConsequence: 'Die Benutzer müssen sich neu anmelden.',
  endSessions: 'Beenden',
  sessionsEnded: (count) => (count === 1 ? 'Eine Sitzung wurde beendet.' : `${count} Sitzungen wurden beendet.`),
  device: 'Gerät',
  noneSoFar: 'Unter den neuesten Anmeldungen wurde nichts gefunden. „Mehr anzeigen“ durchsucht frühere.',
  reasonName: (reason) => REASONS[reason] ?? reason,

  history: 'Verlauf',
  historyOf: (user) => `Verlauf von Benutzer ${user}`,
  noEvents: 'Es wurden keine Ereignisse aufgezeichnet.',
  eventName: (event) => EVENTS[event] ?? event,
  initiators: {
    user: 'durch den Benutzer',
    admin: 'durch die Administration',
    policy: 'durch eine Regel',
    system: 'durch das System',
  },
  close: 'Schließen',

  statistics: 'Statistik',
  activeSessions: 'Aktive Sitzungen',
  day: 'Tag (UTC)',
  logins: 'Anmeldungen',
  endings: 'Beendete Sitzungen',
  chart: (days, highest) =>
    `Balkendiagramm der Anmeldungen und beendeten Sitzungen der letzten ${days} Tage, höchstens ${highest} am Tag. Die Tabelle darunter enthält die Zahlen.`,
  dayCounts: (day, logins, endings) => `${day}: ${logins} Anmeldungen, ${endings} beendet`,
  highest: (count) => `Höchster Balken: ${count}`,
  asTable: 'Als Tabelle anzeigen',

  actions: 'Aktionen der Administration',
  noActions: 'Die Administration hat noch nichts getan.',
  actionName: (action) => ACTIONS[action] ?? action,
  ofUser: (user) => `von Benutzer ${user}`,
  endedCount: (count) => `${count} beendet`,

  deliveries: 'Zustellung von Ereignissen',
  waitingEvents: 'Wartend',
  deadLetters: 'Nicht zustellbar',
  delay: 'Verzögerung',
  pausedUntil: 'Pausiert bis',
  switchedOff: 'Abgeschaltet',
  showDeadLetters: 'Nicht zustellbare anzeigen',
  deliverAgain: 'Erneut zustellen',
  deliverEvent: (event, time) => `Erneut zustellen: ${event}, ${time}`,
  delivering: 'Das Ereignis wird erneut zugestellt.',
  time: 'Zeit',
  failedAt: 'Letzter Versuch',
  error: 'Fehler',

  signingKeys: 'Signaturschlüssel',
  keyState: 'Zustand',
  keyStates: { pending: 'Signiert demnächst', active: 'Signiert', replaced: 'Prüft nur frühere Tokens' },
  algorithm: 'Verfahren',
  createdAt: 'Erzeugt',
  signsSince: 'Signiert ab',
};
