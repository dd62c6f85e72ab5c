import assert from 'node:assert/strict';
import { test } from 'node:test';
import { huge_run } from '../../../kernel/mm/huge-memory.ts';
import { proc_pid_smaps } from '../../../kernel/fs/proc/task-mmu.ts';
import { current } from '../../../kernel/current.ts';
import { nr_free_pages } from '../../../kernel/mm/page-alloc.ts';
import { NR, boot, call, fork, peek32, poke32 } from '../support/boot.ts';

const AT = 0x100_0000_0000;
const HUGE = 2 << 20;
const MADV_HUGEPAGE = 14, MADV_NOHUGEPAGE = 15;

test('memory advised as huge comes in aligned runs, which protection and fork take apart and unmapping gives back', () => {
  let checked = false;
  boot(function* main() {
    const before = nr_free_pages();
    assert.equal(yield* call(NR.__NR_mmap, AT, 3 * HUGE, 3, 0x32, -1, 0), AT);
    assert.equal(yield* call(NR.__NR_madvise, AT + 4096, 3 * HUGE - 8192, MADV_HUGEPAGE), 0);
    const mm = current().mm!;
    poke32(AT, 1);
    assert.equal(huge_run(mm, AT), 0, 'the first 2 MiB are not all advised');
    poke32(AT + HUGE + 12345 * 4, 7);
    const run = huge_run(mm, AT + HUGE);
    assert.ok(run > 0 && run % 512 === 0);
    assert.equal(mm.rss_anon >= 513, true);
    assert.equal(peek32(AT + HUGE + 12345 * 4), 7);
    assert.equal(peek32(AT + HUGE), 0);
    assert.match(proc_pid_smaps(current()), /AnonHugePages: +2048 kB/);
    yield* fork(function* child() {
      poke32(AT + HUGE, 9);
      assert.equal(huge_run(current().mm!, AT + HUGE), 0, 'a copied page lies elsewhere');
      return 0;
    });
    yield* call(NR.__NR_wait4, -1, 0, 0, 0);
    assert.equal(peek32(AT + HUGE), 0);
    assert.equal(yield* call(NR.__NR_mprotect, AT + HUGE + 4096, 4096, 1), 0);
    assert.equal(huge_run(mm, AT + HUGE), 0);
    assert.equal(yield* call(NR.__NR_munmap, AT, 3 * HUGE), 0);
    assert.ok(before - nr_free_pages() < 8);
    assert.equal(yield* call(NR.__NR_mmap, AT, HUGE, 3, 0x32, -1, 0), AT);
    assert.equal(yield* call(NR.__NR_madvise, AT, HUGE, MADV_NOHUGEPAGE), 0);
    poke32(AT, 1);
    assert.equal(huge_run(mm, AT), 0);
    checked = true;
  });
  assert.ok(checked);
});
