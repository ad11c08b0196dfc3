import type { ImportProgress } from '../import/options.js';

/** How often a line is written, in milliseconds. On a terminal, the line replaces the last one. */
const INTERVAL = { terminal: 200, plain: 10_000 };

/** Shows how far the import is, how fast it is, and how much time is left. */
export class Progress {
  /** When the phase began, and when the last batch ended. */
  private startedAt = performance.now();
  private lastAt = this.startedAt;
  private shownAt = -Infinity;
  private phase?: ImportProgress['phase'];
  private isLineOpen = false;

  constructor(private readonly stream: NodeJS.WriteStream) {}

  show(progress: ImportProgress): void {
    const now = performance.now();
    if (progress.phase !== this.phase) {
      this.phase = progress.phase;
      this.startedAt = this.lastAt;
      this.shownAt = -Infinity;
    }
    this.lastAt = now;
    const isDone = progress.done >= (progress.total ?? Infinity);
    const interval = this.stream.isTTY ? INTERVAL.terminal : INTERVAL.plain;
    if (!isDone && now - this.shownAt < interval) return;
    this.shownAt = now;
    const line = lineOf(progress, now - this.startedAt);
    this.stream.write(this.stream.isTTY ? `\r\u001b[K${line}` : `${line}\n`);
    this.isLineOpen = this.stream.isTTY;
  }

  /** Ends the line that is being replaced. */
  end(): void {
    if (this.isLineOpen) this.stream.write('\n');
    this.isLineOpen = false;
  }
}

/** @param elapsed milliseconds since the phase began */
function lineOf({ phase, done, total }: ImportProgress, elapsed: number): string {
  const perSecond = (done / Math.max(elapsed, 1)) * 1000;
  const rate = `${whole(perSecond)} a second`;
  if (phase === 'remove') return `looking for ended sessions: ${whole(done)}, ${rate}`;
  const all = Math.max(total ?? 0, done);
  const percent = all === 0 ? 100 : Math.floor((done / all) * 100);
  const left = all === done ? 'done' : `${spanOf((all - done) / perSecond)} left`;
  return `reading sessions: ${whole(done)} of ${whole(all)} (${percent} %), ${rate}, ${left}`;
}

function whole(number: number): string {
  return Math.round(number).toLocaleString('en-US');
}

function spanOf(seconds: number): string {
  const whole = Math.ceil(seconds);
  return whole < 60 ? `${whole} s` : `${Math.floor(whole / 60)} min ${whole % 60} s`;
}
