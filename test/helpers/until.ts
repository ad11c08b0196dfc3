import { setTimeout as sleep } from 'node:timers/promises';

/**
 * Waits until a condition holds.
 * @param patience in milliseconds
 * @throws if it does not hold in time
 */
export async function until(condition: () => boolean | Promise<boolean>, patience = 60_000): Promise<void> {
  const end = performance.now() + patience;
  while (!(await condition())) {
    if (performance.now() > end) throw new Error(`the condition did not hold within ${patience} ms`);
    await sleep(5);
  }
}
