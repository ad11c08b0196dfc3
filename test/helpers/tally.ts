import { expect } from '@jest/globals';

/** Counts how often each outcome occurred. */
export class Tally {
  private readonly counts = new Map<string, number>();

  add(seen: string): void {
    this.counts.set(seen, (this.counts.get(seen) ?? 0) + 1);
  }

  /** The outcomes that have occurred. */
  get names(): string[] {
    return [...this.counts.keys()].sort();
  }

  /** Whether all outcomes that are marked true have occurred. */
  hasAll(outcomes: Readonly<Record<string, boolean>>): boolean {
    return Object.keys(outcomes).every((name) => !outcomes[name] || this.counts.has(name));
  }

  /** Checks that every outcome is one of these, and that those marked true have occurred. */
  expect(outcomes: Readonly<Record<string, boolean>>): void {
    const seen = [...this.counts.keys()];
    expect(seen.filter((name) => !Object.hasOwn(outcomes, name))).toEqual([]);
    expect(seen).toEqual(expect.arrayContaining(Object.keys(outcomes).filter((name) => outcomes[name])));
  }

  toString(): string {
    return [...this.counts]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, count]) => `${name}: ${count}`)
      .join(', ');
  }
}
