import type { SigningKey } from '../contract.js';
import { AdminSection, type AdminView, factsOf } from './admin-section.js';
import { ago, exactTime } from './describe.js';
import { h } from './dom.js';

/** The signing keys that the server manages. */
export class KeysSection extends AdminSection<readonly SigningKey[]> {
  constructor(view: AdminView) {
    super(view, view.language.texts.signingKeys);
  }

  protected read(): Promise<readonly SigningKey[]> {
    return this.view.requests.keys();
  }

  protected isEmpty(keys: readonly SigningKey[]): boolean {
    return keys.length === 0;
  }

  protected render(keys: readonly SigningKey[]): Node[] {
    const { language } = this.view;
    const { texts } = language;
    const items = keys.map(({ kid, algorithm, state, created_at, active_at }) =>
      h(
        'li',
        { class: 'row item', part: 'key' },
        h('h3', {}, kid),
        factsOf([
          [texts.keyState, texts.keyStates[state]],
          [texts.algorithm, algorithm],
          [texts.createdAt, `${exactTime(created_at, language)} (${ago(created_at, language)})`],
          [texts.signsSince, active_at && exactTime(active_at, language)],
        ]),
      ),
    );
    return [h('ul', { part: 'list' }, ...items)];
  }
}
