import type { DeadLetter, EventDestination, EventStatus } from '../contract.js';
import { AdminSection, type AdminView, factsOf } from './admin-section.js';
import { exactTime, inWords } from './describe.js';
import { h } from './dom.js';

/** Where durable events are delivered, with what was refused. A dead letter can be delivered again. */
export class DeliveriesSection extends AdminSection<EventStatus> {
  constructor(view: AdminView) {
    super(view, view.language.texts.deliveries);
  }

  protected read(): Promise<EventStatus> {
    return this.view.requests.eventStatus();
  }

  protected isEmpty({ destinations }: EventStatus): boolean {
    return destinations.length === 0;
  }

  protected render({ destinations }: EventStatus): Node[] {
    return [h('ul', { part: 'list' }, ...destinations.map((destination) => this.destination(destination)))];
  }

  private destination({ name, waiting, dead_letters, lag_ms, paused_until, gone_at }: EventDestination): HTMLElement {
    const { language } = this.view;
    const { texts } = language;
    const time = (at: string | null) => at && exactTime(at, language);
    const letters = h('ul', { part: 'list' });
    const item = h(
      'li',
      { class: 'row item', part: 'destination' },
      h('h3', {}, name),
      factsOf([
        [texts.waitingEvents, waiting],
        [texts.deadLetters, dead_letters],
        [texts.delay, lag_ms > 0 ? inWords(lag_ms / 1000, language) : ''],
        [texts.pausedUntil, time(paused_until)],
        [texts.switchedOff, time(gone_at)],
      ]),
    );
    if (dead_letters === 0) return item;
    const show = h('button', { type: 'button', part: 'button' }, texts.showDeadLetters);
    let last: string | undefined;
    show.addEventListener('click', () => {
      void this.view.act(show, async () => {
        const page = await this.view.requests.deadLetters(name, last);
        letters.append(...page.map((letter) => this.letter(name, letter)));
        last = page.at(-1)?.event_id;
        show.textContent = texts.more;
        show.hidden = letters.children.length >= dead_letters || page.length === 0;
        if (show.hidden) letters.querySelector('button')?.focus();
      });
    });
    item.append(letters, show);
    return item;
  }

  private letter(destination: string, { event_id, event, at, failed_at, error }: DeadLetter): HTMLElement {
    const { language, requests } = this.view;
    const { texts } = language;
    const time = exactTime(at, language);
    const again = h(
      'button',
      { type: 'button', part: 'button', 'aria-label': texts.deliverEvent(event, time) },
      texts.deliverAgain,
    );
    const item = h(
      'li',
      { class: 'letter', part: 'dead-letter' },
      h('h4', {}, event),
      factsOf([
        [texts.time, time],
        [texts.failedAt, exactTime(failed_at, language)],
        [texts.error, error],
      ]),
      again,
    );
    again.addEventListener('click', () => {
      void this.view.act(again, async () => {
        await requests.replay(destination, event_id);
        const next = item.nextElementSibling ?? item.previousElementSibling;
        (next?.querySelector('button') ?? this.element.querySelector('summary'))?.focus();
        item.remove();
        this.view.say(texts.delivering);
      });
    });
    return item;
  }
}
