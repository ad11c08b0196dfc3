import type { AdminPastEvent } from '../contract.js';
import type { AdminView } from './admin-section.js';
import { browserOf, exactTime } from './describe.js';
import { h, write } from './dom.js';

/** What happened to the sessions of one user: who ended which one, and why. */
export class UserHistory {
  readonly element: HTMLElement;
  private readonly heading = h('h2', { id: 'history', tabindex: '-1' });
  private readonly events = h('ol', { part: 'list' });
  private readonly none = h('p', {});
  private readonly more: HTMLButtonElement;
  private user = '';
  private next: string | null = null;
  private opener: HTMLElement | undefined;

  constructor(private readonly view: AdminView) {
    const { texts } = view.language;
    this.more = h('button', { type: 'button', part: 'button' }, texts.more);
    this.more.addEventListener('click', () => void view.act(this.more, () => this.load()));
    const close = h('button', { type: 'button', part: 'button' }, texts.close);
    close.addEventListener('click', () => {
      this.close();
      this.opener?.focus();
    });
    write(this.none, texts.noEvents);
    this.element = h(
      'section',
      { class: 'history', part: 'history', 'aria-labelledby': 'history' },
      this.heading,
      this.events,
      this.none,
      h('div', { class: 'actions' }, this.more, close),
    );
    this.element.hidden = true;
  }

  /**
   * Loads the history of a user, and moves the focus to it.
   * @param opener gets the focus when the history is closed
   */
  open(user: string, name: string, opener: HTMLElement): Promise<void> {
    return this.view.act(opener, async () => {
      this.close();
      [this.user, this.opener] = [user, opener];
      write(this.heading, this.view.language.texts.historyOf(name));
      await this.load();
      if (this.user !== user) return;
      this.element.hidden = false;
      this.heading.focus();
    });
  }

  close(): void {
    this.user = '';
    this.next = null;
    this.element.hidden = true;
    this.events.replaceChildren();
  }

  private async load(): Promise<void> {
    const { user } = this;
    const { events, next } = await this.view.requests.history(user, this.next);
    // Another history was opened, or this one was closed.
    if (user !== this.user) return;
    this.next = next;
    this.events.append(...events.map((event) => this.item(event)));
    this.none.hidden = this.events.children.length > 0;
    const hadFocus = this.more.matches(':focus');
    this.more.hidden = next === null;
    if (hadFocus && this.more.hidden) this.heading.focus();
  }

  private item(past: AdminPastEvent): HTMLElement {
    const { event, at, by, by_user_id, by_user_name, reason, session_type, device, ip_address } = past;
    const { language } = this.view;
    const { texts } = language;
    // A server of an earlier version does not say who it was.
    const administrator = by_user_name ?? by_user_id ?? '';
    const meta = [
      exactTime(at, language),
      texts.initiators[by] + (administrator === '' ? '' : ` (${administrator})`),
      reason && texts.reasonName(reason),
      session_type && texts.typeName(session_type),
      device ?? browserOf(past, texts),
      ip_address,
    ];
    return h(
      'li',
      { class: 'event', part: 'event' },
      h('strong', {}, texts.eventName(event)),
      h('span', { class: 'facts' }, meta.filter(Boolean).join(' · ')),
    );
  }
}
