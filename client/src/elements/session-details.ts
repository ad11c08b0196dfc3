import type { Session } from '../contract.js';
import { browserOf, exactTime, until } from './describe.js';
import { arrange, h, write } from './dom.js';
import type { Language } from './language.js';

/** Everything that is known about a session, as a list of terms. It keeps its nodes when it is updated. */
export class SessionDetails {
  readonly element = h('dl', { part: 'facts' });
  private readonly entries = new Map<string, { readonly term: HTMLElement; readonly value: HTMLElement }>();

  update(session: Session, language: Language, extra: readonly (readonly [string, string])[] = []): void {
    const { texts } = language;
    const at = (time: string) => exactTime(time, language);
    const changed = session.client_changed_at;
    const facts: readonly (readonly [string, string | false | null | undefined])[] = [
      ...extra,
      [texts.loggedInAt, at(session.created_at)],
      [texts.lastUsedAt, at(session.last_update)],
      [texts.expiresAt, `${at(session.expires_at)} (${until(session.expires_at, language)})`],
      [texts.changedAt, changed && at(changed)],
      [texts.address, session.ip_address],
      [texts.browser, browserOf(session, texts)],
      [texts.bound, session.bound && texts.boundToDevice],
      [texts.description, descriptionOf(session)],
      [texts.sessionType, texts.typeName(session.type)],
    ];
    const shown = facts.flatMap(([term, value]) => (value ? [this.entry(term, value)] : []));
    arrange(
      this.element,
      shown.flatMap(({ term, value }) => [term, value]),
    );
  }

  private entry(name: string, text: string) {
    const entry = this.entries.get(name) ?? { term: h('dt', {}, name), value: h('dd') };
    this.entries.set(name, entry);
    write(entry.value, text);
    return entry;
  }
}

/** The server takes the description from the device or the user agent if the client gave none. Those are shown already. */
function descriptionOf({ info, device, browser, os }: Session): string | undefined {
  const isUserAgent = info.startsWith('Mozilla/') && (browser ?? os) !== null;
  return info === device || isUserAgent ? undefined : info;
}
