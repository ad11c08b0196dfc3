import { describe, expect, test } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import { SessionExpiries } from '../../../lib/revocation/session-expiries.js';

const PAGE_SIZE = 5000;

function pagesOf(expiries: SessionExpiries, size = PAGE_SIZE) {
  const pages: [string, number][][] = [];
  for (let start: number | undefined = 0; start !== undefined;) {
    const page: ReturnType<SessionExpiries['page']> = expiries.page(start, size);
    pages.push(page.entries);
    start = page.next;
  }
  return pages;
}

describe('the expiries of ended sessions', () => {
  test('are a map', () => {
    const expiries = new SessionExpiries();
    const [one, other] = [randomUUID(), randomUUID()];
    expiries.set(one, 1);
    expiries.set(one, 2);
    expiries.set(other, 5);
    expiries.set('a', 7);
    expiries.set('', 8);
    expect([expiries.size, expiries.get(one), expiries.has(other), expiries.has('b')]).toEqual([4, 2, true, false]);
    expiries.deleteExpired(5);
    expect([expiries.size, expiries.has(one), expiries.get(other)]).toEqual([3, false, 5]);
    expiries.clear();
    expect([expiries.size, expiries.has(other)]).toEqual([0, false]);
  });

  test('fit on one page if they are few', () => {
    const expiries = new SessionExpiries();
    expect(pagesOf(expiries)).toEqual([[]]);
    for (let at = 0; at < 100; at++) expiries.set(randomUUID(), at);
    expect(pagesOf(expiries).map((page) => page.length)).toEqual([100]);
  });

  test('can be read in pages of about one size, each entry once, if there are a million', () => {
    const expiries = new SessionExpiries();
    for (let at = 0; at < 1_000_000; at++) expiries.set(randomUUID(), at);
    const pages = pagesOf(expiries);
    expect(new Set(pages.flatMap((page) => page.map(([id]) => id))).size).toBe(1_000_000);
    expect(pages.reduce((sum, page) => sum + page.length, 0)).toBe(1_000_000);
    expect(Math.max(...pages.map((page) => page.length))).toBeLessThan(2 * PAGE_SIZE);
  });

  test('are on the same pages in every process, also if they change meanwhile', () => {
    const [one, other] = [new SessionExpiries(), new SessionExpiries()];
    const ids = Array.from({ length: 20_000 }, () => randomUUID());
    for (const id of ids) one.set(id, 1);
    for (const id of ids.toReversed()) other.set(id, 1);
    const first = one.page(0, PAGE_SIZE);
    other.set(randomUUID(), 1);
    const rest = pagesOf({
      page: (start: number, size: number) => other.page(Math.max(start, first.next ?? 0), size),
    } as SessionExpiries);
    const read = new Set([...first.entries, ...rest.flat()].map(([id]) => id));
    expect(ids.filter((id) => !read.has(id))).toEqual([]);
  });
});
