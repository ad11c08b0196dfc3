import { SessionError } from '../errors.js';
import type { AdminRequests } from './admin-requests.js';
import { h } from './dom.js';
import type { Language } from './language.js';

/** What the parts of `<session-admin>` need of it. */
export interface AdminView {
  readonly requests: AdminRequests;
  readonly language: Language;
  /** Runs the action of a control once at a time, and says what went wrong. */
  act(control: HTMLElement, work: () => Promise<void>): Promise<void>;
  say(words: string): void;
}

/**
 * A part of the administration that opens with its heading, and loads its data each time. It is hidden if the server has no such
 * data: if it does not have the route, or if `isEmpty` says so.
 */
export abstract class AdminSection<Data> {
  readonly element: HTMLDetailsElement;
  protected readonly panel = h('div', { class: 'panel', part: 'details' });
  private readonly summary: HTMLElement;
  private loads = 0;

  constructor(
    protected readonly view: AdminView,
    title: string,
  ) {
    this.summary = h('summary', { part: 'summary' }, h('h2', {}, title));
    this.element = h('details', { class: 'section', part: 'section' }, this.summary, this.panel);
    this.element.hidden = true;
    this.element.addEventListener('toggle', () => {
      if (this.element.open) void this.load();
      else this.panel.replaceChildren();
    });
  }

  protected abstract read(): Promise<Data>;
  protected abstract isEmpty(data: Data): boolean;
  /** Returns the content of the panel. */
  protected abstract render(data: Data): readonly Node[];

  /** Loads the data, and shows them if the section is open. */
  load(): Promise<void> {
    return this.view.act(this.summary, async () => {
      const load = ++this.loads;
      const data = await this.read().catch(missing);
      // Somebody else may have logged in.
      if (load !== this.loads) return;
      this.element.hidden = data === undefined || this.isEmpty(data);
      if (data !== undefined && this.element.open) this.panel.replaceChildren(...this.render(data));
    });
  }

  /** Hides the section and forgets its data. */
  clear(): void {
    this.loads++;
    this.element.hidden = true;
    this.element.open = false;
    this.panel.replaceChildren();
  }
}

/** Returns undefined if the server does not have the route. */
function missing(error: unknown): undefined {
  if (error instanceof SessionError && error.status === 404) return undefined;
  throw error;
}

/** Creates a list of terms. Facts without a value are left out. */
export function factsOf(facts: readonly (readonly [term: string, value: string | number | null])[]): HTMLElement {
  const shown = facts.filter(([, value]) => value !== null && value !== '');
  return h(
    'dl',
    { part: 'facts' },
    ...shown.flatMap(([term, value]) => [h('dt', {}, term), h('dd', {}, String(value))]),
  );
}
