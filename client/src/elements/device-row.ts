import type { ManagedSession } from '../contract.js';
import { type DeviceGroup, exactTime, metaOf, nameOf } from './describe.js';
import { arrange, h, write } from './dom.js';
import { ExpandableRow } from './expandable-row.js';
import type { Language } from './language.js';
import { SessionDetails } from './session-details.js';

/** A wish to end sessions, all of one device. */
export interface Ending {
  readonly name: string;
  readonly sessions: readonly ManagedSession[];
  readonly button: HTMLButtonElement;
  readonly row: ExpandableRow;
}

/** One device in the list, with the details of each of its sessions. */
export class DeviceRow {
  readonly row: ExpandableRow;
  private readonly quick: HTMLButtonElement;
  private readonly all: HTMLButtonElement;
  private readonly sessions = new Map<string, SessionPart>();
  private group: DeviceGroup | undefined;
  private name = '';

  constructor(
    id: string,
    private readonly language: Language,
    private readonly end: (ending: Ending) => void,
  ) {
    const { logOut } = language.texts;
    this.row = new ExpandableRow(id);
    this.quick = endButton(logOut, () => this.endAll(this.quick));
    this.quick.classList.add('quick');
    this.row.bar.append(this.quick);
    this.all = endButton('', () => this.endAll(this.all));
  }

  update(group: DeviceGroup): void {
    const { texts } = this.language;
    const { sessions } = group;
    const [first] = sessions;
    if (!first) return;
    this.group = group;
    this.name = nameOf(first, texts);
    const isThis = sessions.some(({ current }) => current);
    this.row.summarize({
      icon: first.kind,
      name: this.name,
      badges: [
        ...(isThis ? [{ text: texts.thisDevice, kind: 'this' } as const] : []),
        ...(sessions.length > 1 ? [{ text: texts.sessionCount(sessions.length), kind: 'count' } as const] : []),
      ],
      meta: metaOf(first, isThis, this.language),
    });
    const others = this.others();
    const hasQuick = sessions.length === 1 && others.length === 1;
    this.quick.hidden = !hasQuick;
    this.row.element.classList.toggle('has-quick', hasQuick);
    this.quick.ariaLabel = texts.logOutDevice(this.name);
    write(this.all, texts.logOutAllOf(this.name, others.length));
    const parts = sessions.map((session) => this.part(session));
    arrange(this.row.panel, [...parts, ...(others.length > 1 ? [this.all] : [])]);
  }

  private others(): ManagedSession[] {
    return this.group?.sessions.filter(({ current }) => !current) ?? [];
  }

  private endAll(button: HTMLButtonElement): void {
    this.end({ name: this.name, sessions: this.others(), button, row: this.row });
  }

  private part(session: ManagedSession): HTMLElement {
    let part = this.sessions.get(session.id);
    if (!part) {
      const button = endButton(this.language.texts.logOut, () => {
        this.end({
          name: this.name,
          sessions: this.others().filter(({ id }) => id === session.id),
          button,
          row: this.row,
        });
      });
      part = new SessionPart(button);
      this.sessions.set(session.id, part);
    }
    const isOnly = this.group?.sessions.length === 1;
    part.update(session, isOnly, this.name, this.language);
    return part.element;
  }
}

/** The details of one session, and the button that ends it. */
class SessionPart {
  readonly element: HTMLElement;
  private readonly badge = h('p', {}, h('span', { class: 'badge this', part: 'badge' }));
  private readonly details = new SessionDetails();

  constructor(private readonly button: HTMLButtonElement) {
    this.element = h('div', { class: 'session', part: 'session' }, this.badge, this.details.element, button);
  }

  update(session: ManagedSession, isOnly: boolean, name: string, language: Language): void {
    const { texts } = language;
    this.details.update(session, language);
    write(this.badge.firstElementChild as Element, texts.thisDevice);
    this.badge.hidden = isOnly || !session.current;
    this.button.hidden = session.current;
    const time = exactTime(session.created_at, language);
    this.button.ariaLabel = isOnly ? texts.logOutDevice(name) : texts.logOutSession(name, time);
  }
}

function endButton(text: string, onClick: () => void): HTMLButtonElement {
  const button = h('button', { type: 'button', class: 'end', part: 'button end' }, text);
  button.addEventListener('click', onClick);
  return button;
}
