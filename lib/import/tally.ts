import type { ImportPlan, ImportResult } from './options.js';
import type { SkipReason } from './system.js';

const MAX_FAILURES = 20;

/** Counts what the import does. */
export class Tally {
  read = 0;
  imported = 0;
  updated = 0;
  removed = 0;
  private failed = 0;
  private readonly failures: { oldKey: string; fault: string }[] = [];
  private readonly skipped: Record<SkipReason, number> = {
    'already-imported': 0,
    'used-here': 0,
    'ended-here': 0,
    'after-cutover': 0,
    expired: 0,
    blacklisted: 0,
    'wrong-user-id': 0,
  };

  skip(reason: SkipReason, count = 1): void {
    this.skipped[reason] += count;
  }

  fail(oldKey: string, fault: string): void {
    this.failed++;
    if (this.failures.length < MAX_FAILURES) this.failures.push({ oldKey, fault });
  }

  result({ system, options }: ImportPlan, more: Pick<ImportResult, 'interrupted' | 'cutOver'>): ImportResult {
    const { read, imported, updated, removed, skipped, failed, failures } = this;
    const dryRun = options.dryRun === true;
    return { system: system.name, dryRun, ...more, read, imported, updated, removed, skipped, failed, failures };
  }
}
