import type { AdminSession } from '../contract.js';
import type { SessionError } from '../errors.js';
import type { SessionState } from '../types.js';
import { ActionsSection } from './admin-actions.js';
import { DeliveriesSection } from './admin-deliveries.js';
import { UserHistory } from './admin-history.js';
import { KeysSection } from './admin-keys.js';
import { type AdminFilter, AdminRequests } from './admin-requests.js';
import type { AdminSection, AdminView } from './admin-section.js';
import { StatisticsSection } from './admin-statistics.js';
import { SessionElement } from './base.js';
import { Confirmation } from './confirm.js';
import { metaOf, nameOf } from './describe.js';
import { h, write } from './dom.js';
import { wordsOf } from './error-words.js';
import { ExpandableRow } from './expandable-row.js';
import type { Language } from './language.js';
import { SessionDetails } from './session-details.js';

interface AdminRow {
  readonly session: AdminSession;
  readonly element: HTMLElement;
  readonly checkbox: HTMLInputElement;
  readonly blame: (words: string) => void;
}

/** How many pages without a session it loads in a row, before it asks the user whether to go on. */
const MAX_EMPTY_PAGES = 20;

/**
 * `<session-admin session-types="SHORT LONG">`: everybody's sessions, for administrators. It finds sessions by user, type, login,
 * address and device, ends several at once, and shows the history of a user. It also shows statistics and what
 * administrators did, and the deliveries of events and the signing keys if the server has them. It is visible while the user is logged in.
 */
export class SessionAdminElement extends SessionElement {
  static override readonly observedAttributes = ['lang', 'session-types'];

  private requests!: AdminRequests;
  private heading!: HTMLElement;
  private user!: HTMLInputElement;
  private type!: HTMLSelectElement | HTMLInputElement;
  private userName!: HTMLInputElement;
  private nameField!: HTMLElement;
  private since!: HTMLInputElement;
  private address!: HTMLInputElement;
  private device!: HTMLInputElement;
  private submit!: HTMLButtonElement;
  private items!: HTMLElement;
  private more!: HTMLButtonElement;
  private all!: HTMLInputElement;
  private endSelected!: HTMLButtonElement;
  private endOfUser!: HTMLButtonElement;
  private actions!: HTMLElement;
  private confirmation!: Confirmation;
  private history!: UserHistory;
  private showHistory!: HTMLButtonElement;
  private sections!: readonly AdminSection<unknown>[];
  private rows: AdminRow[] = [];
  private next: string | null = null;
  private created = 0;
  /** The user whose sessions are listed, or an empty text. */
  private listedUser = '';
  private searches = 0;

  protected isFor({ status }: SessionState): boolean {
    return status === 'authenticated';
  }

  protected build(): HTMLElement {
    const { texts } = this;
    this.requests = new AdminRequests(this.client, this.options.url ?? '/api/session');
    const view: AdminView = {
      requests: this.requests,
      language: this.language,
      act: (control, work) => this.act(control, work),
      say: (words) => this.say(words),
    };
    this.sections = [
      new StatisticsSection(view),
      new ActionsSection(view),
      new DeliveriesSection(view),
      new KeysSection(view),
    ];
    this.history = new UserHistory(view);
    this.heading = h('h1', { part: 'heading', tabindex: '-1' }, texts.administration);
    this.items = h('ul', { part: 'list' });
    this.more = this.button(texts.more, () => this.act(this.more, () => this.load()));
    this.endSelected = this.button('', () => this.endThese());
    this.endOfUser = this.button('', () => this.endTheirs());
    this.showHistory = this.button('', () => this.history.open(this.listedUser, this.listedUser, this.showHistory));
    for (const button of [this.endSelected, this.endOfUser]) button.classList.add('danger');
    this.all = h('input', { type: 'checkbox', part: 'checkbox' });
    this.all.addEventListener('change', () => {
      for (const { checkbox } of this.rows) checkbox.checked = this.all.checked;
      this.showSelection();
    });
    this.actions = h(
      'div',
      { class: 'actions', part: 'actions' },
      h('label', { class: 'choice', part: 'label' }, this.all, texts.selectAll),
      this.endSelected,
      this.endOfUser,
    );
    this.confirmation = new Confirmation(texts);
    return h(
      'div',
      { part: 'content' },
      h('header', { part: 'header' }, h('slot', { name: 'heading' }, this.heading)),
      ...this.sections.map(({ element }) => element),
      this.search(),
      this.message,
      h('div', { class: 'after' }, this.showHistory),
      this.history.element,
      this.actions,
      this.items,
      h('div', { class: 'after' }, this.more),
      this.confirmation.element,
    );
  }

  protected shown(isVisible: boolean): void {
    this.clear();
    this.say('');
    if (isVisible) return void this.act(this.submit, () => this.loadAll());
    this.confirmation.close();
    for (const section of this.sections) section.clear();
  }

  protected focusTarget(): HTMLElement {
    return this.heading;
  }

  private search(): HTMLElement {
    const { texts } = this;
    const types = (this.getAttribute('session-types') ?? '').split(/\s+/).filter(Boolean);
    const input = (id: string) =>
      h('input', { id, part: 'input', autocapitalize: 'none', spellcheck: 'false', autocomplete: 'off' });
    this.user = input('user');
    this.userName = input('user-name');
    this.address = input('address');
    this.device = input('device');
    this.type =
      types.length === 0
        ? input('type')
        : h(
            'select',
            { id: 'type', part: 'input' },
            h('option', { value: '' }, texts.anyType),
            ...types.map((type) => h('option', { value: type }, texts.typeName(type))),
          );
    this.since = h('input', { id: 'since', type: 'date', part: 'input' });
    this.submit = h('button', { class: 'primary', part: 'button primary' }, texts.search);
    const field = (label: string, input: HTMLElement) =>
      h('div', { class: 'field', part: 'field' }, h('label', { for: input.id, part: 'label' }, label), input);
    this.nameField = field(texts.username, this.userName);
    this.nameField.hidden = true;
    const form = h(
      'form',
      { class: 'filters', part: 'form', role: 'search' },
      this.nameField,
      field(texts.userId, this.user),
      field(texts.sessionType, this.type),
      field(texts.since, this.since),
      field(texts.address, this.address),
      field(texts.device, this.device),
      this.submit,
    );
    form.addEventListener('submit', (event) => {
      event.preventDefault();
      this.clear();
      void this.act(
        this.submit,
        () => this.load(),
        (error) => this.say(faultOf(error, this.language), true),
      );
    });
    return form;
  }

  private button(text: string, onClick: () => Promise<void>): HTMLButtonElement {
    const button = h('button', { type: 'button', part: 'button' }, text);
    button.addEventListener('click', () => void onClick());
    return button;
  }

  private clear(): void {
    this.searches++;
    this.rows = [];
    this.next = null;
    this.items.replaceChildren();
    this.more.hidden = true;
    this.actions.hidden = true;
    this.showHistory.hidden = true;
    this.history.close();
  }

  /** Loads the sessions. If the user may see them, the sections load too. */
  private async loadAll(): Promise<void> {
    const search = this.searches;
    await this.load();
    if (search === this.searches) for (const section of this.sections) void section.load();
  }

  /** Loads the next page. It keeps on until it has a session to show, because a page may be empty. */
  private async load(): Promise<void> {
    const { texts } = this;
    const search = this.searches;
    const filter: AdminFilter = {
      user: this.user.value.trim(),
      user_name: this.userName.value.trim(),
      type: this.type.value.trim(),
      since: this.since.value,
      ip_address: this.address.value.trim(),
      device: this.device.value.trim(),
    };
    this.say('');
    let sessions: readonly AdminSession[];
    let pages = 0;
    do {
      const page = await this.requests.list(filter, this.next);
      // The user has started another search, or has logged out.
      if (search !== this.searches) return;
      ({ sessions, next: this.next } = page);
      this.nameField.hidden = !page.can_search_users;
    } while (sessions.length === 0 && this.next !== null && ++pages < MAX_EMPTY_PAGES);
    this.listedUser = filter.user;
    for (const session of sessions) this.add(session);
    this.more.hidden = this.next === null;
    if (sessions.length === 0 && this.next !== null) this.say(texts.noneSoFar);
    else if (this.rows.length === 0) this.say(texts.noSessions);
    this.showSelection();
  }

  private add(session: AdminSession): void {
    const { language, texts } = this;
    const [name, id] = [nameOf(session, texts), String(session.user_id)];
    const user = session.user_name ?? id;
    const row = new ExpandableRow(`session-${++this.created}`);
    row.summarize({
      icon: session.kind,
      name,
      badges: [{ text: user, kind: 'count' }],
      meta: [metaOf(session, false, language), texts.typeName(session.type)].join(' · '),
    });
    const details = new SessionDetails();
    const named: [string, string][] = session.user_name === null ? [] : [[texts.username, session.user_name]];
    details.update(session, language, [[texts.userId, id], ...named]);
    const history: HTMLButtonElement = this.button(texts.history, () => this.history.open(id, user, history));
    history.ariaLabel = texts.historyOf(user);
    row.panel.append(details.element, history);
    const checkbox = h('input', { type: 'checkbox', part: 'checkbox', 'aria-label': texts.select(name, user) });
    checkbox.addEventListener('change', () => this.showSelection());
    row.bar.prepend(checkbox);
    this.items.append(row.element);
    this.rows.push({ session, element: row.element, checkbox, blame: (words) => row.blame(words) });
  }

  private selected(): AdminRow[] {
    return this.rows.filter(({ checkbox }) => checkbox.checked);
  }

  private showSelection(): void {
    const { texts, rows } = this;
    const { length } = this.selected();
    this.actions.hidden = rows.length === 0;
    this.all.checked = length > 0 && length === rows.length;
    this.all.indeterminate = length > 0 && length < rows.length;
    this.endSelected.hidden = length === 0;
    write(this.endSelected, texts.endSelected(length));
    this.endOfUser.hidden = this.listedUser === '';
    write(this.endOfUser, texts.endOfUser(this.listedUser));
    this.showHistory.hidden = this.listedUser === '';
    write(this.showHistory, texts.historyOf(this.listedUser));
  }

  private async endThese(): Promise<void> {
    const { texts } = this;
    const chosen = this.selected();
    if (!(await this.confirmed(texts.askSelected(chosen.length)))) return;
    let ended = 0;
    await this.act(this.endSelected, async () => {
      for (const row of chosen) {
        row.blame('');
        if (await this.endRow(row)) ended++;
      }
      this.say(texts.sessionsEnded(ended), ended < chosen.length);
    });
    this.showSelection();
    if (!this.root.activeElement) this.heading.focus();
  }

  /** Ends a session and removes its row. If that fails, the row says why. */
  private async endRow(row: AdminRow): Promise<boolean> {
    let refusal: SessionError | undefined;
    await this.act(
      row.checkbox,
      () => this.requests.end(row.session.id),
      (error) => void (refusal = error),
    );
    if (refusal) {
      row.blame(wordsOf(refusal, this.language));
      return false;
    }
    row.element.remove();
    this.rows = this.rows.filter((other) => other !== row);
    return true;
  }

  private async endTheirs(): Promise<void> {
    const { texts, listedUser } = this;
    if (!(await this.confirmed(texts.askOfUser(listedUser)))) return;
    await this.act(this.endOfUser, async () => {
      const ended = await this.requests.endOfUser(listedUser);
      this.clear();
      await this.load();
      this.say(texts.sessionsEnded(ended));
    });
    if (!this.root.activeElement) this.heading.focus();
  }

  private confirmed(question: string): Promise<boolean> {
    return this.confirmation.ask(question, this.texts.adminConsequence, this.texts.endSessions);
  }
}

/** Returns what is wrong with the first field that the server refuses, or what to say about the error. */
function faultOf(error: SessionError, language: Language): string {
  const [fault] = Object.values(error.errors ?? {}).flat();
  return fault === undefined ? wordsOf(error, language) : language.texts.fieldError(fault);
}
