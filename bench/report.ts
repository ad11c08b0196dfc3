import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { cpus, release, type } from 'node:os';

export function median(values: readonly number[]): number {
  return percentile(values, 50);
}

/** Returns a percentile, interpolated between the two nearest values. */
export function percentile(values: readonly number[], percent: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  const place = ((sorted.length - 1) * percent) / 100;
  const below = sorted[Math.floor(place)];
  return below + (sorted[Math.ceil(place)] - below) * (place % 1);
}

/** Returns the range of the values relative to their median: 0.1 for values from 95 to 105. */
export function spread(values: readonly number[]): number {
  return (Math.max(...values) - Math.min(...values)) / median(values);
}

export const whole = (value: number): string => Math.round(value).toLocaleString('en');
export const percent = (value: number): string => `${Math.round(value * 100)} %`;

/** Formats a Markdown table, so that the output can be copied to the docs. All columns except the first are right-aligned. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = head.map((_, column) => Math.max(3, ...[head, ...rows].map((row) => row[column].length)));
  const line = (cells: readonly string[]) =>
    `| ${cells.map((cell, at) => (at ? cell.padStart(widths[at]) : cell.padEnd(widths[at]))).join(' | ')} |`;
  const rule = `| ${widths.map((width, at) => (at ? `${'-'.repeat(width - 1)}:` : '-'.repeat(width))).join(' | ')} |`;
  return [line(head), rule, ...rows.map(line)].join('\n');
}

const said: string[] = [];

/** Prints a paragraph and adds it to the report. */
export function say(paragraph: string): void {
  said.push(paragraph);
  console.log(`\n${paragraph}`);
}

/** Starts a section of the report. */
export const sayTitle = (title: string): void => say(`## ${title}`);

/** Reports whether a target was reached: `at least 0.90, reached: 0.94`, or `… MISSED`. */
export function sayTarget(what: string, target: number, reached: number, side: 'at least' | 'at most' = 'at least') {
  const met = side === 'at least' ? reached >= target : reached <= target;
  say(`${what}: ${side} ${target.toFixed(2)}, reached: ${reached.toFixed(2)}${met ? '' : ', MISSED'}`);
}

/** Writes the report to `bench/results/<name>.md`, with a description of the machine and the versions. */
export function writeReport(name: string, options: object): void {
  const folder = new URL('../../bench/results/', import.meta.url);
  mkdirSync(folder, { recursive: true });
  const head = [`# ${name}`, `${new Date().toISOString().slice(0, 10)}, ${JSON.stringify(options)}`, machine()];
  const file = new URL(`${name}.md`, folder);
  writeFileSync(file, `${[...head, ...said].join('\n\n')}\n`);
  console.log(`\nwritten to bench/results/${name}.md`);
}

const PACKAGES = ['@nestjs/core', '@nestjs/jwt', 'express', 'fastify', 'typeorm', 'pg', 'mysql2', 'better-sqlite3'];
const PEERS = ['passport-jwt', 'better-auth', 'express-session', 'connect-pg-simple', 'autocannon'];

function machine(): string {
  const [{ model }, ...others] = cpus();
  const versions = [...PACKAGES, ...PEERS].map((name) => `${name} ${versionOf(name)}`);
  const servers = ['postgres', 'mariadbd'].map(serverVersion).filter((line) => line !== '');
  return `${others.length + 1} × ${model}, ${type()} ${release()}; Node ${process.version}, ${[...versions, ...servers].join(', ')}`;
}

/** Reads the version from the file, because the `exports` of some packages hide package.json from `require`. */
function versionOf(name: string): string {
  const folders = createRequire(import.meta.url).resolve.paths(name) ?? [];
  for (const folder of folders) {
    try {
      return (JSON.parse(readFileSync(`${folder}/${name}/package.json`, 'utf8')) as { version: string }).version;
    } catch {
      // Look in the next folder upwards.
    }
  }
  return '(not found)';
}

function serverVersion(command: string): string {
  const shell = `for each in "$(command -v ${command})" /usr/lib/postgresql/*/bin/${command}; do test -x "$each" && exec "$each" --version; done`;
  try {
    return execFileSync('sh', ['-c', shell], { encoding: 'utf8' }).trim();
  } catch {
    return '';
  }
}
