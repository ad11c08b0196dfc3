import type { SessionError } from '../errors.js';
import type { SessionState } from '../types.js';
import { SessionElement } from './base.js';
import { h, icon, write } from './dom.js';
import { waitOf, wordsOf } from './error-words.js';

interface TextField {
  readonly element: HTMLElement;
  readonly input: HTMLInputElement;
  readonly error: HTMLElement;
}

/** Fields of a login that the user does not type. An error in them is a mistake in the page. */
const NOT_TYPED: ReadonlySet<string> = new Set(['session', 'info', 'persistent', 'secret_key']);

/**
 * `<session-login session-type="SHORT" remembered-session-type="LONG">`: a form that starts a session. Anonymous visitors
 * see it, and it says why a session has ended.
 *
 * @fires session-login after a login
 */
export class SessionLoginElement extends SessionElement {
  static override readonly observedAttributes = ['lang', 'session-type', 'remembered-session-type'];

  private username!: TextField;
  private password!: TextField;
  private remember: HTMLInputElement | undefined;
  private submit!: HTMLButtonElement;
  private hidePassword!: () => void;
  private waiting: ReturnType<typeof setTimeout> | undefined;

  protected isFor({ status }: SessionState): boolean {
    return status === 'anonymous' || status === 'ended';
  }

  protected build(): HTMLElement {
    const { texts } = this;
    this.username = this.field('username', texts.username, {
      autocomplete: 'username',
      autocapitalize: 'none',
      spellcheck: 'false',
    });
    this.password = this.field('password', texts.password, { type: 'password', autocomplete: 'current-password' });
    this.password.input.after(this.toggle());
    this.remember = this.hasAttribute('remembered-session-type')
      ? h('input', { type: 'checkbox', id: 'remember', part: 'checkbox', checked: !this.hasAttribute('forget') })
      : undefined;
    this.submit = h('button', { class: 'primary', part: 'button primary' }, texts.logIn);
    const form = h(
      'form',
      { class: 'login card', part: 'form', novalidate: true },
      h('slot', { name: 'heading' }, h('h1', { part: 'heading' }, texts.logIn)),
      this.message,
      this.username.element,
      this.password.element,
      ...(this.remember
        ? [h('label', { class: 'choice', part: 'label' }, this.remember, ` ${texts.keepLoggedIn}`)]
        : []),
      this.submit,
      h('slot', { name: 'footer' }),
    );
    form.addEventListener('submit', (event) => {
      event.preventDefault();
      void this.act(
        this.submit,
        () => this.logIn(),
        (error) => this.refuse(error),
      );
    });
    return form;
  }

  protected shown(isVisible: boolean): void {
    this.password.input.value = '';
    this.hidePassword();
    if (!isVisible) return;
    this.clearErrors();
    const state = this.client.getSnapshot();
    if (state.status !== 'ended') return;
    const { ended, endedBecause } = this.texts;
    this.say(endedBecause[state.cause ?? ''] ?? ended[state.reason]);
  }

  protected focusTarget(): HTMLElement {
    return this.username.input;
  }

  private async logIn(): Promise<void> {
    const { texts, username, password } = this;
    this.clearErrors();
    // The password would be readable in transit.
    if (!globalThis.isSecureContext) return this.say(texts.insecure, true);
    if (password.input.value === '') this.blame(password, texts.passwordMissing);
    if (username.input.value === '') this.blame(username, texts.usernameMissing);
    if (password.input.value === '' || username.input.value === '') return;
    this.hidePassword();
    await this.client.login({
      username: username.input.value,
      password: password.input.value,
      ...this.choice(),
    });
    this.dispatchEvent(new CustomEvent('session-login', { bubbles: true, composed: true }));
  }

  /** The session type, and whether it outlives the browser. */
  private choice(): { session: string; remember?: boolean } {
    const [type, remembered] = ['session-type', 'remembered-session-type'].map((name) => this.getAttribute(name));
    const isRemembered = this.remember?.checked;
    const session = (isRemembered && remembered) || type || remembered;
    if (!session) throw new Error('<session-login> needs the attribute session-type');
    return { session, ...(isRemembered !== undefined && { remember: isRemembered }) };
  }

  private refuse(error: SessionError): void {
    const { username, password } = this;
    for (const [name, [message]] of Object.entries(error.errors ?? {}).reverse()) {
      if (message === undefined || NOT_TYPED.has(name)) continue;
      // The name of the other field depends on the server's option `usernameField`.
      this.blame(name === 'password' ? password : username, this.texts.fieldError(message));
    }
    if (username.error.textContent || password.error.textContent) return;
    this.say(wordsOf(error, this.language), true);
    if (error.code === 'invalid_credentials') this.password.input.select();
    if (error.status === 429) this.waiting = setTimeout(() => this.say(''), waitOf(error) * 1000);
  }

  /** Says what is wrong with a field, and moves the focus there. */
  private blame({ input, error }: TextField, words: string): void {
    write(error, words);
    input.ariaInvalid = 'true';
    input.focus();
  }

  private clearErrors(): void {
    clearTimeout(this.waiting);
    this.say('');
    for (const { input, error } of [this.username, this.password]) {
      write(error, '');
      input.removeAttribute('aria-invalid');
    }
  }

  /** A button that shows the password, and hides it again. */
  private toggle(): HTMLButtonElement {
    const button = h('button', { type: 'button', class: 'toggle', part: 'toggle', 'aria-controls': 'password' });
    const show = (isShown: boolean) => {
      this.password.input.type = isShown ? 'text' : 'password';
      button.ariaLabel = button.title = isShown ? this.texts.hidePassword : this.texts.showPassword;
      button.replaceChildren(icon(isShown ? 'eyeOff' : 'eye'));
    };
    button.addEventListener('click', () => show(this.password.input.type === 'password'));
    // A password must not stay readable on the screen, nor be kept by the browser as a text.
    this.hidePassword = () => show(false);
    show(false);
    return button;
  }

  private field(id: string, label: string, attributes: Record<string, string>): TextField {
    const input = h('input', {
      id,
      name: id,
      part: 'input',
      required: true,
      'aria-describedby': `${id}-error`,
      ...attributes,
    });
    const error = h('p', { id: `${id}-error`, class: 'error-text', part: 'error' });
    const element = h(
      'div',
      { class: 'field', part: 'field' },
      h('label', { for: id, part: 'label' }, label),
      h('div', { class: 'input' }, input),
      error,
    );
    return { element, input, error };
  }
}
