import type { MultiSessionConfig } from '../engine/options.js';
import { ASVS_SESSION_ROWS } from './asvs.js';
import { Facts, type ReportedRoutes } from './facts.js';
import { RFC_9700_ROWS } from './rfc-9700.js';
import { judged, type SecurityRequirement } from './row.js';

/**
 * Compares the configuration of this process with OWASP ASVS 5.0, chapter V7, and with the sections of RFC 9700 that concern sessions.
 * Inject it, or run `npx nestjs-multisession report`.
 */
export class SecurityReport {
  /** All rows, in the order of the standards. */
  readonly rows: readonly SecurityRequirement[];

  /** @internal */
  constructor(config: MultiSessionConfig, routes: ReportedRoutes) {
    const facts = new Facts(config, routes);
    this.rows = [...judged('OWASP ASVS 5.0', ASVS_SESSION_ROWS, facts), ...judged('RFC 9700', RFC_9700_ROWS, facts)];
  }

  /**
   * Returns the rows that are not met.
   * @param level of ASVS: only rows of ASVS that this level requires. Default: all rows, also those of RFC 9700
   */
  notMet(level?: 1 | 2 | 3): SecurityRequirement[] {
    const isAsked = (row: SecurityRequirement) =>
      level === undefined || (row.level !== undefined && row.level <= level);
    return this.rows.filter((row) => row.verdict === 'not met' && isAsked(row));
  }

  /** Returns the report as text. It contains no secrets. */
  toString(): string {
    const parts = this.rows.map((row, at) => {
      const heading = row.standard === this.rows[at - 1]?.standard ? '' : `\n${row.standard}\n\n`;
      return `${heading}${textOf(row)}`;
    });
    const count = (verdict: SecurityRequirement['verdict']) =>
      this.rows.filter((row) => row.verdict === verdict).length;
    const sum = `${count('met')} met, ${count('not met')} not met, ${count('yours')} up to your application`;
    return `${parts.join('').trimStart()}\n${sum}\n`;
  }
}

function textOf({ row, level, requirement, value, verdict, test, change }: SecurityRequirement): string {
  const lines = [
    `${verdict.padEnd(8)} ${row}${level ? ` (level ${level})` : ''}: ${requirement}`,
    `here: ${value}`,
    ...(test ? [`test: ${test[0]}, "${test[1]}"`] : []),
    ...(change ? [`to do: ${change}`] : []),
  ];
  return `${lines.join('\n         ')}\n`;
}
