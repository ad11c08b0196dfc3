import type { DayStatistics, SessionStatistics } from '../contract.js';
import { AdminSection, type AdminView, factsOf } from './admin-section.js';
import { h, svg } from './dom.js';

/** How many days the chart shows, with today. */
const DAYS = 30;
const DAY = 86_400_000;
/** The size of the chart in its own units. A day is as wide as two bars and a gap. */
const [BAR, DAY_WIDTH, HEIGHT] = [4, 10, 100];

type Counts = Readonly<Record<string, number>>;

/** The logins and endings of each day, as bars and as a table. */
export class StatisticsSection extends AdminSection<SessionStatistics> {
  constructor(view: AdminView) {
    super(view, view.language.texts.statistics);
  }

  protected read(): Promise<SessionStatistics> {
    return this.view.requests.statistics(DAYS);
  }

  protected isEmpty({ active, days }: SessionStatistics): boolean {
    return total(active) === 0 && days.length === 0;
  }

  protected render({ active, days }: SessionStatistics): Node[] {
    const { texts, tag } = this.view.language;
    const { typeName, reasonName } = texts;
    const dateOf = (day: string) =>
      new Intl.DateTimeFormat(tag, { dateStyle: 'medium', timeZone: 'UTC' }).format(new Date(day));
    const listed = (counts: Counts, name: (key: string) => string) => {
      const parts = Object.entries(counts).map(([key, count]) => `${name(key)} ${count}`);
      return parts.length > 0 ? `${total(counts)} (${parts.join(', ')})` : '0';
    };
    const row = ({ day, logins, endings }: DayStatistics) =>
      h(
        'tr',
        {},
        h('th', { scope: 'row' }, dateOf(day)),
        h('td', {}, listed(logins, typeName)),
        h('td', {}, listed(endings, reasonName)),
      );
    const head = [texts.day, texts.logins, texts.endings].map((name) => h('th', { scope: 'col' }, name));
    return [
      factsOf([[texts.activeSessions, listed(active, typeName)]]),
      this.chart(everyDay(days), dateOf),
      h(
        'details',
        { class: 'as-table' },
        h('summary', {}, texts.asTable),
        h('table', { part: 'table' }, h('thead', {}, h('tr', {}, ...head)), h('tbody', {}, ...days.map(row))),
      ),
    ];
  }

  private chart(days: readonly DayStatistics[], dateOf: (day: string) => string): HTMLElement {
    const { texts } = this.view.language;
    const counts = days.map(({ day, logins, endings }) => ({ day, logins: total(logins), endings: total(endings) }));
    const highest = Math.max(1, ...counts.flatMap(({ logins, endings }) => [logins, endings]));
    const bar = (kind: string, x: number, count: number) => {
      const height = (count / highest) * HEIGHT;
      return svg('rect', { class: kind, x, y: HEIGHT - height, width: BAR, height });
    };
    const groups = counts.map(({ day, logins, endings }, at) =>
      svg(
        'g',
        {},
        svg('title', {}, texts.dayCounts(dateOf(day), logins, endings)),
        bar('logins', at * DAY_WIDTH, logins),
        bar('endings', at * DAY_WIDTH + BAR, endings),
      ),
    );
    const label = texts.chart(days.length, highest);
    const viewBox = `0 0 ${days.length * DAY_WIDTH} ${HEIGHT}`;
    return h(
      'figure',
      { class: 'chart', part: 'chart' },
      svg('svg', { role: 'img', 'aria-label': label, viewBox, preserveAspectRatio: 'none' }, ...groups),
      h('div', { class: 'axis' }, h('span', {}, dateOf(days[0].day)), h('span', {}, dateOf(days[days.length - 1].day))),
      h(
        'figcaption',
        {},
        h('span', { class: 'key logins' }, texts.logins),
        h('span', { class: 'key endings' }, texts.endings),
        h('span', {}, texts.highest(highest)),
      ),
    );
  }
}

function total(counts: Counts): number {
  return Object.values(counts).reduce((sum, count) => sum + count, 0);
}

/** Returns the last days in their order, the latest last. The server leaves out days without activity. */
function everyDay(days: readonly DayStatistics[]): DayStatistics[] {
  const byDay = new Map(days.map((day) => [day.day, day]));
  return Array.from({ length: DAYS }, (_, at) => {
    const day = new Date(Date.now() - (DAYS - 1 - at) * DAY).toISOString().slice(0, 10);
    return byDay.get(day) ?? { day, logins: {}, endings: {} };
  });
}
