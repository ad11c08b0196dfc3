import type { ImportResult } from '../import/options.js';

type Line = readonly [what: string, count: number];

/** Why sessions were skipped, in words. */
const REASONS: Readonly<Record<keyof ImportResult['skipped'], string>> = {
  'already-imported': 'imported already, unchanged',
  'used-here': 'imported already, used here since',
  'ended-here': 'ended here',
  'after-cutover': 'changed after the cut-over',
  expired: 'expired in the old system',
  blacklisted: 'on the blacklist of the old system',
  'wrong-user-id': 'user id of the wrong kind',
};

/** Returns the final table of an import as text. */
export function reportOf(result: ImportResult): string {
  const { dryRun, interrupted, cutOver, failures, failed, endingsAtOnce } = result;
  const skipped = Object.entries(result.skipped).filter(([, count]) => count > 0) as [keyof typeof REASONS, number][];
  const lines: Line[] = [
    ['read', result.read],
    [dryRun ? 'would be imported' : 'imported', result.imported],
    [dryRun ? 'would be updated' : 'updated', result.updated],
    [dryRun ? 'would be removed' : 'removed', result.removed],
    ...skipped.map(([reason, count]): Line => [`skipped: ${REASONS[reason]}`, count]),
    ['failed', failed],
    ...linesOf(endingsAtOnce?.lifetimes, (type) => `would end at once: lifetimes of ${type}`),
    ...linesOf(endingsAtOnce?.limits, (limit) => `would end at the next login: ${limit}`),
  ];
  const width = Math.max(...lines.map(([what]) => what.length));
  const amounts = lines.map(([, count]) => count.toLocaleString('en-US'));
  const wide = Math.max(...amounts.map(({ length }) => length));
  const texts = lines.map(([what], at) => `${what.padEnd(width)}  ${amounts[at].padStart(wide)}`);
  texts.push(...failures.map(({ oldKey, fault }) => `failed: ${oldKey}: ${fault}`));
  if (failed > failures.length) texts.push(`and ${(failed - failures.length).toLocaleString('en-US')} more`);
  if (dryRun) texts.push('This was a dry run. Nothing was written.');
  if (interrupted) texts.push('Interrupted. Run the command again to continue.');
  else if (cutOver && !dryRun) texts.push('The move is declared done. Later runs update and remove no session.');
  return `${texts.join('\n')}\n`;
}

function linesOf(counts: Readonly<Record<string, number>> = {}, text: (name: string) => string): Line[] {
  return Object.entries(counts).map(([name, count]) => [text(name), count]);
}
