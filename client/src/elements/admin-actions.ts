import type { AdminAction, AdminActionPage } from '../contract.js';
import { AdminSection, type AdminView } from './admin-section.js';
import { exactTime } from './describe.js';
import { h } from './dom.js';

/** What administrators did, the latest first: which sessions they ended, and which events they had delivered again. */
export class ActionsSection extends AdminSection<AdminActionPage> {
  constructor(view: AdminView) {
    super(view, view.language.texts.actions);
  }

  protected read(): Promise<AdminActionPage> {
    return this.view.requests.actions(null);
  }

  protected isEmpty(): boolean {
    return false;
  }

  protected render(page: AdminActionPage): Node[] {
    const { texts } = this.view.language;
    if (page.actions.length === 0) return [h('p', {}, texts.noActions)];
    const list = h('ol', { part: 'list' });
    const more = h('button', { type: 'button', part: 'button' }, texts.more);
    let next: string | null;
    const show = (shown: AdminActionPage) => {
      list.append(...shown.actions.map((action) => this.item(action)));
      next = shown.next;
      const hadFocus = more.matches(':focus');
      more.hidden = next === null;
      if (hadFocus && more.hidden) this.element.querySelector('summary')?.focus();
    };
    more.addEventListener('click', () => {
      void this.view.act(more, async () => show(await this.view.requests.actions(next)));
    });
    show(page);
    return [list, more];
  }

  private item(done: AdminAction): HTMLElement {
    const { language } = this.view;
    const { texts } = language;
    const { session_type, destination } = done.details;
    const administrator = done.by_user_name ?? done.by_user_id;
    const user = done.user_name ?? done.user_id;
    const meta = [
      exactTime(done.at, language),
      texts.initiators.admin + (administrator === null ? '' : ` (${administrator})`),
      user !== null && texts.ofUser(String(user)),
      typeof session_type === 'string' && texts.typeName(session_type),
      done.ended !== null && texts.endedCount(done.ended),
      destination,
    ];
    return h(
      'li',
      { class: 'event', part: 'action' },
      h('strong', {}, texts.actionName(done.action)),
      h('span', { class: 'facts' }, meta.filter(Boolean).join(' · ')),
    );
  }
}
