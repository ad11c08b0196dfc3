import { h, icon, type IconName, write } from './dom.js';

/** What the closed row says. */
export interface RowSummary {
  readonly icon: IconName;
  readonly name: string;
  readonly badges: readonly { readonly text: string; readonly kind: 'this' | 'count' }[];
  readonly meta: string;
}

/** A row of a list. A tap or a key opens its panel. The row keeps its nodes when it is updated, so that the focus stays. */
export class ExpandableRow {
  readonly element: HTMLLIElement;
  /** The row without its panel. */
  readonly bar: HTMLElement;
  readonly panel: HTMLElement;
  private readonly button: HTMLButtonElement;
  private readonly error = h('p', { class: 'error-text', part: 'error', role: 'alert' });
  private readonly name = h('span', { class: 'name', part: 'name' });
  private readonly meta = h('span', { class: 'meta', part: 'meta' });
  private readonly line = h('span', { class: 'line' }, this.meta);
  private icon: SVGSVGElement | undefined;

  /** @param id an id for the panel that no other row has */
  constructor(id: string) {
    this.panel = h('div', { id, class: 'panel', part: 'details', hidden: true });
    this.button = h(
      'button',
      { type: 'button', class: 'summary', part: 'summary', 'aria-expanded': 'false', 'aria-controls': id },
      h('span', {}, this.name, ' ', this.line),
      icon('chevron'),
    );
    this.button.addEventListener('click', () => this.toggle());
    this.bar = h('div', { class: 'bar' }, h('h2', {}, this.button));
    this.element = h('li', { class: 'row', part: 'device' }, this.bar, this.panel, this.error);
  }

  summarize({ icon: name, badges, meta, ...summary }: RowSummary): void {
    if (!this.icon?.classList.contains(name)) {
      this.icon?.remove();
      this.button.prepend((this.icon = icon(name)));
    }
    write(this.name, summary.name);
    write(this.meta, meta);
    const shown = [...this.line.querySelectorAll('.badge')];
    if (shown.map(({ textContent }) => textContent).join('\n') === badges.map(({ text }) => text).join('\n')) return;
    for (const badge of shown) badge.remove();
    this.line.prepend(...badges.map(({ text, kind }) => h('span', { class: `badge ${kind}`, part: 'badge' }, text)));
  }

  /** Says what went wrong with this row. An empty text removes it. */
  blame(words: string): void {
    write(this.error, words);
  }

  private toggle(): void {
    this.panel.hidden = !this.panel.hidden;
    this.button.ariaExpanded = String(!this.panel.hidden);
  }
}
