import { createDeviceList, type DeviceList, endSession } from '../device-list.js';
import type { SessionState } from '../types.js';
import { SessionElement } from './base.js';
import { Confirmation } from './confirm.js';
import { groupByDevice } from './describe.js';
import { DeviceRow, type Ending } from './device-row.js';
import { arrange, h } from './dom.js';
import { wordsOf } from './error-words.js';

const POLL_INTERVAL = 10_000;

/** The number of rows of all lists so far. It makes the ids of their panels unique. */
let rows = 0;

/**
 * `<session-devices>`: the devices on which the user is logged in, and buttons that end their sessions. It is visible while
 * the user is logged in.
 */
export class SessionDevicesElement extends SessionElement {
  private list!: DeviceList;
  private heading!: HTMLElement;
  private items!: HTMLElement;
  private others!: HTMLButtonElement;
  private confirmation!: Confirmation;
  private rows = new Map<string, DeviceRow>();
  private polling: ReturnType<typeof setInterval> | undefined;
  /** Whether the message says that the list could not be loaded. */
  private saysError = false;

  protected isFor({ status }: SessionState): boolean {
    return status === 'authenticated';
  }

  protected build(): HTMLElement {
    const { texts } = this;
    this.list = createDeviceList(this.client);
    this.list.subscribe(() => this.render());
    this.rows = new Map();
    this.heading = h('h1', { part: 'heading', tabindex: '-1' }, texts.devices);
    this.items = h('ul', { part: 'list' });
    const logOut = h('button', { type: 'button', id: 'log-out', part: 'button' }, texts.logOut);
    logOut.addEventListener('click', () => void this.act(logOut, () => this.client.logout()));
    this.others = h(
      'button',
      { type: 'button', class: 'danger', part: 'button danger', hidden: true },
      texts.logOutOthers,
    );
    this.others.addEventListener('click', () => void this.endOthers());
    this.confirmation = new Confirmation(texts);
    return h(
      'div',
      { part: 'content' },
      this.message,
      h('header', { part: 'header' }, h('slot', { name: 'heading' }, this.heading), logOut),
      h('p', { class: 'lead', part: 'lead' }, h('slot', { name: 'lead' }, texts.devicesLead)),
      this.items,
      h('div', { class: 'after' }, this.others),
      h('slot', { name: 'footer' }),
      this.confirmation.element,
    );
  }

  protected shown(isVisible: boolean): void {
    this.say('');
    clearInterval(this.polling);
    for (const [target, event] of RELOAD_ON) target().removeEventListener(event, this.reload);
    // The next user of this browser must not see the devices of the last one.
    if (!isVisible) {
      this.confirmation.close();
      this.items.replaceChildren();
      this.rows.clear();
      return;
    }
    for (const [target, event] of RELOAD_ON) target().addEventListener(event, this.reload);
    this.polling = setInterval(this.reload, this.options.pollInterval ?? POLL_INTERVAL);
    void this.list.reload();
  }

  protected focusTarget(): HTMLElement {
    return this.heading;
  }

  private readonly reload = (): void => {
    if (document.visibilityState === 'visible') void this.list.reload();
  };

  /** Updates the list in place. Each device keeps its nodes, so that an update does not move the focus. */
  private render(): void {
    const { devices, error } = this.list.getSnapshot();
    if (error || this.saysError) this.say(error ? wordsOf(error, this.language) : '', true);
    this.saysError = error !== undefined;
    if (!devices || !this.isVisible) return;
    const groups = groupByDevice(devices);
    const hadFocus = this.items.contains(this.root.activeElement);
    arrange(
      this.items,
      groups.map((group) => {
        const row =
          this.rows.get(group.key) ??
          new DeviceRow(`device-${++rows}`, this.language, (ending) => void this.end(ending));
        this.rows.set(group.key, row);
        row.update(group);
        return row.row.element;
      }),
    );
    for (const key of this.rows.keys()) if (!groups.some((group) => group.key === key)) this.rows.delete(key);
    this.others.hidden = devices.length < 2;
    if (hadFocus && !this.root.activeElement) this.heading.focus();
  }

  private async end({ name, sessions, button, row }: Ending): Promise<void> {
    const { texts } = this;
    const { length } = sessions;
    const question = length === 1 ? texts.askDevice(name) : texts.askAllOf(name, length);
    if (length === 0 || !(await this.confirmation.ask(question, texts.askConsequence, texts.logOut))) return;
    row.blame('');
    await this.act(
      button,
      async () => {
        for (const { id } of sessions) await endSession(this.client, id);
        this.say(texts.deviceEnded(name));
        await this.list.reload();
      },
      (error) => row.blame(wordsOf(error, this.language)),
    );
  }

  private async endOthers(): Promise<void> {
    const { texts } = this;
    if (!(await this.confirmation.ask(texts.askOthers, texts.askConsequence, texts.logOut))) return;
    await this.act(this.others, async () => this.say(texts.othersEnded(await this.list.endOthers())));
  }
}

/** When the list is reloaded besides the interval. */
const RELOAD_ON: readonly (readonly [target: () => EventTarget, event: string])[] = [
  [() => document, 'visibilitychange'],
  [() => window, 'focus'],
  [() => window, 'online'],
];
