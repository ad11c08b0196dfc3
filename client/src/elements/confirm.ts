import { h, write } from './dom.js';
import type { SessionTexts } from './texts.js';

/** Asks before sessions end, because that cannot be undone. */
export class Confirmation {
  readonly element: HTMLDialogElement;
  private readonly question = h('h2', { id: 'question' });
  private readonly consequence = h('p', { id: 'consequence' });
  private readonly yes = h('button', { value: 'yes', class: 'danger solid', part: 'button danger' });
  private answer: ((isAgreed: boolean) => void) | undefined;

  constructor({ cancel }: SessionTexts) {
    this.element = h(
      'dialog',
      { part: 'dialog', 'aria-labelledby': 'question', 'aria-describedby': 'consequence' },
      h(
        'form',
        { method: 'dialog' },
        this.question,
        this.consequence,
        h('div', { class: 'choices' }, h('button', { value: 'no', part: 'button' }, cancel), this.yes),
      ),
    );
    this.element.addEventListener('close', this.closed);
  }

  /**
   * Resolves to true if the user agrees, and to false if they do not, if `close` is called, or if another question takes its
   * place.
   */
  ask(question: string, consequence: string, yes: string): Promise<boolean> {
    const { element } = this;
    this.answer?.(false);
    write(this.question, question);
    write(this.consequence, consequence);
    write(this.yes, yes);
    element.returnValue = 'no';
    element.showModal();
    return new Promise((resolve) => (this.answer = resolve));
  }

  /** The event `close` comes in a task of its own. By then, the dialog may be open again with the next question. */
  private readonly closed = (): void => {
    if (this.element.open) return;
    this.answer?.(this.element.returnValue === 'yes');
    this.answer = undefined;
  };

  close(): void {
    if (this.element.open) this.element.close('no');
  }
}
