/** How many range partitions are kept ahead of the time. */
export const AHEAD = 7;

/** Returns the name of the range partition with the rows that expire before `until`, in milliseconds since 1970. */
export function partitionName(until: number): string {
  return `p${until}`;
}
