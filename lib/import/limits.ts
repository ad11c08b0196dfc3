import type { ImportPlan } from './options.js';
import type { Source, SourceValue } from './source.js';

/**
 * Counts the sessions of the old system that are above a limit of the new one, by the name of the limit. It counts rows in the
 * old system only, and includes those that will be skipped for another reason than their expiry.
 */
export async function countAboveLimits(
  { system, types, config }: ImportPlan,
  source: Source,
  now: number,
): Promise<Record<string, number>> {
  const conditions = Object.entries(types).map(([old, policy]) => ({
    type: policy.type,
    limit: policy.config.maxActiveSessions,
    condition: system.counts(source.dialect, old, policy),
  }));
  const above: Record<string, number> = {};
  const count = async (name: string, limit: number, parts: readonly { condition: string }[]) => {
    if (!Number.isFinite(limit)) return;
    const [{ excess }] = await source.query<{ excess: SourceValue }>(
      `SELECT SUM(amount - :limit) AS excess FROM (
         SELECT COUNT(*) AS amount FROM ${system.tables[0].name}
         WHERE ${parts.map(({ condition }) => `(${condition})`).join(' OR ')} GROUP BY user_id HAVING COUNT(*) > :limit
       ) AS users`,
      { now, limit },
    );
    if (Number(excess) > 0) above[name] = Number(excess);
  };
  for (const type of new Set(conditions.map((part) => part.type))) {
    const parts = conditions.filter((part) => part.type === type);
    await count(`maxActiveSessions of ${type}`, parts[0].limit, parts);
  }
  await count('maxActiveSessionsPerUser', config.maxActiveSessionsPerUser, conditions);
  await count('maxSessions', config.maxSessions, conditions);
  return above;
}
