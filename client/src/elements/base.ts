import type { SessionError } from '../errors.js';
import type { SessionClient, SessionState } from '../types.js';
import { h, write } from './dom.js';
import { sessionErrorOf, wordsOf } from './error-words.js';
import { type Language, languageOf } from './language.js';
import { styleSheet } from './style.js';
import type { SessionTexts } from './texts.js';

/** Options of `defineSessionElements`. */
export interface SessionElementsOptions {
  /**
   * Your own texts by language, such as `{ en: { logIn: 'Sign in' }, fr: { … } }`. English and German are included. Texts that
   * a language lacks are in English.
   */
  readonly texts?: Readonly<Record<string, Partial<SessionTexts>>>;
  /** URL of the session routes, for `<session-admin>`. Default: `/api/session`. */
  readonly url?: string;
  /** How often `<session-devices>` reloads its list while the page is visible, in milliseconds. Default: 10,000. */
  readonly pollInterval?: number;
}

/** What all elements of a page share. */
export interface ElementContext {
  readonly client: SessionClient;
  readonly options: SessionElementsOptions;
}

/** A server can import the elements, although it has no `HTMLElement`. */
const Base: typeof HTMLElement = globalThis.HTMLElement ?? class {};

/**
 * An element that shows itself only in some states of the session. Its content is built when it is connected, and again when
 * its language changes.
 */
export abstract class SessionElement extends Base {
  static readonly observedAttributes = ['lang'];
  /** Set by `defineSessionElements`. */
  static context: ElementContext | undefined;

  protected readonly root = this.attachShadow({ mode: 'open' });
  protected readonly message = h('p', { class: 'message', part: 'message', role: 'status' });
  private content: HTMLElement | undefined;
  private unsubscribe: (() => void) | undefined;
  private tag = 'en';
  private knowsState = false;

  /** Whether the element is visible in a state. */
  protected abstract isFor(state: SessionState): boolean;
  /** Builds the content. It contains `message`. */
  protected abstract build(): HTMLElement;
  /** Runs when the element becomes visible, or hides itself again. */
  protected abstract shown(isVisible: boolean): void;
  /** Returns the element that gets the focus if the user was in another part of the page that is gone now. */
  protected abstract focusTarget(): HTMLElement | null;

  protected get client(): SessionClient {
    return this.context.client;
  }

  protected get options(): SessionElementsOptions {
    return this.context.options;
  }

  protected get language(): Language {
    return languageOf(this.tag, this.options.texts);
  }

  protected get texts(): SessionTexts {
    return this.language.texts;
  }

  protected get isVisible(): boolean {
    return this.content !== undefined && !this.content.hidden;
  }

  connectedCallback(): void {
    this.root.adoptedStyleSheets = [styleSheet()];
    this.rebuild();
    this.unsubscribe = this.client.subscribe(() => this.follow(this.client.getSnapshot()));
  }

  disconnectedCallback(): void {
    this.unsubscribe?.();
    if (this.isVisible) this.shown(false);
    this.content = undefined;
  }

  attributeChangedCallback(): void {
    if (this.isConnected && this.content) this.rebuild();
  }

  /** Shows a message, which screen readers announce. */
  protected say(words: string, isError = false): void {
    this.message.classList.toggle('error', isError);
    write(this.message, words);
  }

  /** Runs the action of a control once at a time. A refusal is given to `onError`. */
  protected async act(
    control: HTMLElement,
    work: () => Promise<void>,
    onError = (error: SessionError): void => this.say(wordsOf(error, this.language), true),
  ): Promise<void> {
    // `disabled` would take the focus from the button.
    if (control.ariaBusy === 'true') return;
    control.ariaBusy = 'true';
    try {
      await work();
    } catch (error) {
      onError(sessionErrorOf(error));
    } finally {
      control.ariaBusy = 'false';
    }
  }

  private get context(): ElementContext {
    const { context } = this.constructor as typeof SessionElement;
    if (context) return context;
    throw new Error('Define the elements with defineSessionElements(client).');
  }

  private rebuild(): void {
    if (this.isVisible) this.shown(false);
    this.tag = this.closest('[lang]')?.getAttribute('lang') || navigator.language;
    this.content = this.build();
    this.content.hidden = true;
    this.root.replaceChildren(this.content);
    this.follow(this.client.getSnapshot());
  }

  private follow(state: SessionState): void {
    const { content } = this;
    if (!content) return;
    // An element does not take the focus when the page opens, unless it has `autofocus`.
    const mayFocus = this.knowsState || this.hasAttribute('autofocus');
    if (state.status !== 'loading') this.knowsState = true;
    const isVisible = this.isFor(state);
    if (content.hidden === !isVisible) return;
    // Browsers would move the focus away from a hidden element only with the next frame.
    if (!isVisible) (this.root.activeElement as HTMLElement | null)?.blur();
    content.hidden = !isVisible;
    this.shown(isVisible);
    // The other elements of the page follow the same change. One of them may hide what has the focus.
    if (isVisible && mayFocus) queueMicrotask(() => this.takeLostFocus());
  }

  private takeLostFocus(): void {
    const { activeElement, body } = document;
    if (this.isVisible && (activeElement === null || activeElement === body)) this.focusTarget()?.focus();
  }
}
