import { describe, expect, jest, test } from '@jest/globals';
import { Progress } from '../../../lib/cli/progress.js';

/** Shows progress at given times in milliseconds, and returns what was written. */
function written(isTTY: boolean, steps: (readonly [at: number, done: number, phase?: 'import' | 'remove'])[]): string {
  let text = '';
  const stream = { isTTY, write: (part: string) => ((text += part), true) } as unknown as NodeJS.WriteStream;
  const clock = jest.spyOn(performance, 'now').mockReturnValue(0);
  try {
    const progress = new Progress(stream);
    for (const [at, done, phase = 'import'] of steps) {
      clock.mockReturnValue(at);
      progress.show({ phase, done, ...(phase === 'import' && { total: 10_000 }) });
    }
    progress.end();
    return text;
  } finally {
    clock.mockRestore();
  }
}

describe('the progress of an import', () => {
  test('replaces one line on a terminal, with the rate and the time left', () => {
    const text = written(true, [
      [500, 1000],
      [550, 1100],
      [1000, 2000],
      [90_000, 4000],
      [100_000, 10_000],
    ]);
    expect(text.split('\r\u001b[K')).toEqual([
      '',
      'reading sessions: 1,000 of 10,000 (10 %), 2,000 a second, 5 s left',
      'reading sessions: 2,000 of 10,000 (20 %), 2,000 a second, 4 s left',
      'reading sessions: 4,000 of 10,000 (40 %), 44 a second, 2 min 15 s left',
      'reading sessions: 10,000 of 10,000 (100 %), 100 a second, done\n',
    ]);
  });

  test('is a line every ten seconds elsewhere, and always the last one', () => {
    const text = written(false, [
      [1000, 1000],
      [10_000, 5000],
      [11_000, 5500],
      [12_000, 10_000],
    ]);
    expect(text).toBe(
      [
        'reading sessions: 1,000 of 10,000 (10 %), 1,000 a second, 9 s left',
        'reading sessions: 5,500 of 10,000 (55 %), 500 a second, 9 s left',
        'reading sessions: 10,000 of 10,000 (100 %), 833 a second, done',
        '',
      ].join('\n'),
    );
  });

  test('counts the rate of the second phase from its own beginning', () => {
    const text = written(false, [
      [10_000, 10_000],
      [12_000, 4000, 'remove'],
    ]);
    expect(text.split('\n')[1]).toBe('looking for ended sessions: 4,000, 2,000 a second');
  });

  test('does not exceed the total if the old system has grown', () => {
    expect(written(false, [[1000, 10_500]])).toMatch(/^reading sessions: 10,500 of 10,500 \(100 %\)/);
  });
});
