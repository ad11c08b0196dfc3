import type { Facts } from './facts.js';

/** A verdict on a requirement. `yours`: the options do not show it, because it depends on the application's own code. */
export type RequirementVerdict = 'met' | 'not met' | 'yours';

/** A row of a standard, and what the configuration makes of it. */
export interface SecurityRequirement {
  readonly standard: 'OWASP ASVS 5.0' | 'RFC 9700';
  /** The number of the row, such as `7.3.2`. */
  readonly row: string;
  /** The level of ASVS from which the row is required. */
  readonly level?: 1 | 2 | 3;
  /** The requirement in short. */
  readonly requirement: string;
  /** What the configuration says. */
  readonly value: string;
  readonly verdict: RequirementVerdict;
  /** The test of the library that shows it: its file in the repository and its title. */
  readonly test?: readonly [file: string, title: string];
  /** What to do. Only if the verdict is not `met`. */
  readonly change?: string;
}

/** What a row says of a configuration. Without `verdict`, it is met if there is nothing to change. */
interface Finding {
  readonly value: string;
  readonly verdict?: RequirementVerdict;
  readonly change?: string | undefined;
}

/** A row before it is applied to a configuration. */
export interface RowRule extends Pick<SecurityRequirement, 'row' | 'level' | 'requirement' | 'test'> {
  readonly judge: (facts: Facts) => Finding;
}

/** Applies the rows of a standard to a configuration. */
export function judged(
  standard: SecurityRequirement['standard'],
  rules: readonly RowRule[],
  facts: Facts,
): SecurityRequirement[] {
  return rules.map(({ judge, ...rule }) => {
    const { value, change, verdict = change === undefined ? 'met' : 'not met' } = judge(facts);
    return { standard, ...rule, value, verdict, ...(verdict !== 'met' && change !== undefined && { change }) };
  });
}

/** A finding about which the options say nothing. */
export function yours(value: string, change: string): Finding {
  return { value, verdict: 'yours', change };
}
