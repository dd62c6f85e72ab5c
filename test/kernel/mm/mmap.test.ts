import assert from 'node:assert/strict';
import { test } from 'node:test';
import { struct, u32, u64 } from '../../../abi/struct.ts';
import { page_count, nr_free_pages } from '../../../kernel/mm/page-alloc.ts';
import { get_user_page_fast } from '../../../kernel/mm/gup.ts';
import { mmu_notifier_register } from '../../../kernel/mm/mm.ts';
import { current } from '../../../kernel/current.ts';
import { NR, boot, call, fork, mmap, peek32, poke, poke32, self } from '../support/boot.ts';

const BASE = 0x100_0000_0000;

/**
 * Calls in a row and what Linux 6.12 (x86-64) answered to the same program in C; addresses are relative to BASE.
 * fd 3 is /dev/zero.
 */
const ANSWERS: readonly (readonly [name: string, answer: number, nr: number, ...args: number[]])[] = [
  ['mmap zero length',                -22, 9, 0, 0, 3, 0x22, -1, 0],
  ['mmap neither shared nor private', -22, 9, 0, 4096, 3, 0x20, -1, 0],
  ['mmap fixed unaligned',            -22, 9, BASE + 1, 4096, 3, 0x32, -1, 0],
  ['mmap offset unaligned',           -22, 9, 0, 4096, 3, 0x22, -1, 1],
  ['mmap bad fd',                     -9,  9, 0, 4096, 3, 2, 77, 0],
  ['mmap too long',                   -12, 9, 0, 2 ** 47, 3, 0x22, -1, 0],
  ['mmap fixed beyond',               -12, 9, 0x7fff_ffff_f000, 4096, 3, 0x32, -1, 0],
  ['mmap fixed 4 pages',              0,   9, BASE, 16384, 3, 0x32, -1, 0],
  ['mmap noreplace',                  -17, 9, BASE + 4096, 4096, 3, 0x100022, -1, 0],
  ['mmap fixed over',                 4096, 9, BASE + 4096, 4096, 1, 0x32, -1, 0],
  ['munmap unaligned',                -22, 11, BASE + 1, 4096],
  ['munmap zero',                     -22, 11, BASE, 0],
  ['munmap nothing there',            0,   11, BASE + 0x100000, 4096],
  ['munmap beyond',                   -22, 11, 0x7fff_ffff_f000, 8192],
  ['mprotect unaligned',              -22, 10, BASE + 1, 4096, 1],
  ['mprotect hole',                   -12, 10, BASE + 12288, 8192, 1],
  ['mprotect bad prot',               -22, 10, BASE, 4096, 0x100],
  ['mprotect zero length',            0,   10, BASE, 0, 1],
  ['mprotect none',                   0,   10, BASE, 4096, 0],
  ['write into PROT_NONE',            -14, 0, 3, BASE, 1],
  ['write into read-only',            -14, 0, 3, BASE + 4096, 1],
  ['write into page',                 1,   0, 3, BASE + 8192, 1],
  ['mprotect back',                   0,   10, BASE, 4096, 3],
  ['mremap bad flags',                -22, 25, BASE, 4096, 8192, 8, 0],
  ['mremap unaligned',                -22, 25, BASE + 1, 4096, 8192, 1, 0],
  ['mremap new zero',                 -22, 25, BASE, 4096, 0, 1, 0],
  ['mremap nothing',                  -14, 25, BASE + 0x200000, 4096, 8192, 1, 0],
  ['mremap no room',                  -12, 25, BASE + 8192, 4096, 2 ** 20, 0, 0],
  ['mremap shrink',                   8192, 25, BASE + 8192, 8192, 4096, 0, 0],
  ['mremap grow',                     8192, 25, BASE + 8192, 4096, 12288, 0, 0],
  ['mremap fixed',                    0x300000, 25, BASE + 8192, 12288, 8192, 3, BASE + 0x300000],
  ['madvise unaligned',               -22, 28, BASE + 1, 4096, 4],
  ['madvise unknown',                 -22, 28, BASE, 4096, 99],
  ['madvise dontneed',                0,   28, BASE, 8192, 4],
  ['madvise hole',                    -12, 28, BASE + 4096, 8192, 4],
  ['msync both',                      -22, 26, BASE, 4096, 5],
  ['msync hole',                      -12, 26, BASE + 8192, 4096, 4],
  ['msync ok',                        0,   26, BASE, 4096, 4],
  ['mincore hole',                    -12, 27, BASE + 8192, 4096, BASE],
  ['munmap all',                      0,   11, BASE, 0x400000],
];

test('the calls about address spaces answer as Linux does', () => {
  const seen: [string, number][] = [];
  const { status } = boot(function* () {
    const page = yield* mmap(4096);
    poke(page, new TextEncoder().encode('/dev/zero\0'));
    assert.equal(yield* call(NR.__NR_open, page, 0), 3);
    for (const [name, , nr, ...args] of ANSWERS) {
      const r = yield* call(nr, ...args);
      seen.push([name, r >= BASE && r < BASE + 0x1000_0000 ? r - BASE : r]);
    }
    return 0;
  });
  assert.equal(status, 0);
  assert.deepEqual(seen, ANSWERS.map(([name, answer]) => [name, answer]));
});

test('a page taken away faults on the next access of a view that had it cached', () => {
  const page_struct = struct('page_struct', { a: u32, b: u64 });
  const seen: number[] = [];
  boot(function* () {
    const page = yield* mmap(4096);
    yield* fork(function* () {
      const view = page_struct.at(self().space, page);
      view.a = 5;
      seen.push(view.a);
      yield* call(NR.__NR_munmap, page, 4096);
      yield* call(NR.__NR_mmap, page, 4096, 3, 0x32, -1, 0);
      seen.push(view.a);
      yield* call(NR.__NR_mprotect, page, 4096, 1);
      seen.push(view.a);
      view.a = 6;
      seen.push(99);
    });
    yield* call(NR.__NR_wait4, -1, page, 0, 0);
    seen.push(peek32(page));
    return 0;
  });
  assert.deepEqual(seen, [5, 0, 0, 11]);
});

test('a notifier hears of a page before it goes, and at copy-on-write', () => {
  const heard: string[] = [];
  let frame = 0;
  boot(function* () {
    const page = yield* mmap(8192);
    poke32(page, 1);
    const mm = current().mm!;
    mmu_notifier_register(mm, { invalidate_range: (start, end) => { heard.push(`${(start - page) / 4096}-${(end - page) / 4096}`); }, release: () => { heard.push('release'); } });
    frame = get_user_page_fast(mm, page, true);
    heard.push(`count ${page_count(frame)}`);
    yield* call(NR.__NR_munmap, page, 4096);
    heard.push(`count ${page_count(frame)}`);
    return 0;
  });
  assert.deepEqual(heard, ['count 2', '0-1', 'count 1']);
  assert.ok(frame > 0);
});

test('memory runs out with ENOMEM or the death of the one that asks, never of the machine', () => {
  const seen: number[] = [];
  let before = 0;
  const { status } = boot(function* () {
    const page = yield* mmap(4096);
    poke32(page, 0);
    before = nr_free_pages();
    seen.push(yield* mmap(1 << 30));
    yield* fork(function* () {
      for (;;) {
        const room = yield* mmap(4 << 20);
        if (room < 0) return 1;
        for (let at = 0; at < 4 << 20; at += 4096) poke32(room + at, 1);
      }
    });
    yield* call(NR.__NR_wait4, -1, page, 0, 0);
    seen.push(peek32(page), nr_free_pages() - before);
    return 3;
  }, { memory: 32 << 20 });
  assert.deepEqual(seen, [-12, 9, 0]);
  assert.equal(status, 3);
});

test('brk moves the end of the heap and keeps it where it cannot', () => {
  const seen: number[] = [];
  boot(function* () {
    const start = yield* call(NR.__NR_brk, 0);
    seen.push((yield* call(NR.__NR_brk, start + 10000)) - start);
    poke32(start + 9996, 7);
    seen.push(peek32(start + 9996));
    seen.push((yield* call(NR.__NR_brk, start - 4096)) - start);
    seen.push((yield* call(NR.__NR_brk, start)) - start);
    seen.push((yield* call(NR.__NR_brk, 2 ** 50)) - start);
    return 0;
  });
  assert.deepEqual(seen, [10000, 7, 10000, 0, 0]);
});

test('struct views and copies at unaligned addresses across pages work, and end in EFAULT where a page is missing', () => {
  const seen: unknown[] = [];
  boot(function* () {
    const page = yield* mmap(8192);
    const s = struct('s', { a: u32, b: u64 });
    const view = s.at(self().space, page + 4091);
    view.b = 0x1122_3344_5566_7788n;
    seen.push(view.b);
    yield* call(NR.__NR_munmap, page + 4096, 4096);
    seen.push(yield* call(NR.__NR_uname, page + 4000));
    return 0;
  });
  assert.deepEqual(seen, [0x1122_3344_5566_7788n, -14]);
});
