/*
 * Runs single instructions, and short programs, on the processor it is started on and tells everything they left behind: the oracle
 * of test/silicon. Reads cases from stdin and answers each on stdout, both in the binary form of test/silicon/layout.ts.
 *
 *   gcc -O1 -o recorder silicon.c && ./recorder < cases > answers
 *
 * A case is entered by returning from a signal handler whose context was replaced by the case's registers, in 64-bit code
 * or, by way of the selectors, in 32- or 16-bit code. All other bytes of the code pages are INT3, so that whatever the
 * instruction does, a signal comes next and brings the registers, the x87 and SSE state, vector, error code and address.
 * A case may ask for RFLAGS.TF, which ends it after one instruction however long that is. A timer of its own time ends what does not end.
 * Instructions under test that make a system call are stopped by a seccomp filter: only this program's own are let through.
 */
#define _GNU_SOURCE
#include <asm/ldt.h>
#include <asm/prctl.h>
#include <cpuid.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <ucontext.h>
#include <unistd.h>

enum { PAGE = 4096, CODE = 0x10000000, CODE_PAGES = 2, DATA = 0x20000000, WRITABLE_PAGES = 2, DATA_PAGES = 3, PAGES = CODE_PAGES + DATA_PAGES };
enum { GS_BASE = DATA + 0x900, FLAG_STEP = 1, TIMED_OUT = 254, SYSTEM_CALL = 255 };

struct test {
  uint32_t mode, flags, length, code_at;
  uint8_t unused[16];
  uint64_t gpr[16], rip, rflags;
  uint32_t patch_at[2], patch_length, reserved;
  uint8_t patch[2][64];
  uint16_t cs, ds, es, ss;
  uint8_t pad[56];
  uint8_t fxsave[512];
  uint8_t code[512];
};
_Static_assert(sizeof(struct test) == 1408, "as layout.ts has it");

struct answer {
  uint32_t size, trap;
  uint64_t error, cr2, rip, rflags, gpr[16];
  uint16_t cs, ds, es, ss, fs, gs, pad[2];
  uint64_t fs_base, gs_base;
  uint8_t fxsave[512];
  uint32_t changes, reserved;
  uint32_t change[];       /* offset in the window << 8 | byte */
};

/* The order in which registers are numbered in machine code. */
static const int order[16] = { REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI, REG_R8, REG_R9, REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15 };

static struct test *tests;
static size_t count, current;
static int running;
static uint8_t pristine[DATA_PAGES * PAGE], expected[PAGES * PAGE];
static uint8_t out[1 << 20];
static size_t filled;

static uint8_t *window(int page) { return (uint8_t *)(uintptr_t)(page < CODE_PAGES ? CODE + page * PAGE : DATA + (page - CODE_PAGES) * PAGE); }

static void put_out(void)
{
  for (size_t at = 0; at < filled;) {
    long n = write(1, out + at, filled - at);
    if (n <= 0) _exit(3);
    at += n;
  }
  filled = 0;
}

static uint16_t selector(int which)
{
  uint16_t s;
  switch (which) {
    case 0: __asm__ volatile("mov %%ds, %0" : "=r"(s)); break;
    case 1: __asm__ volatile("mov %%es, %0" : "=r"(s)); break;
    default: __asm__ volatile("mov %%gs, %0" : "=r"(s)); break;
  }
  return s;
}

/* What the base of FS was in the case, and what C needs it to be. */
__attribute__((used)) static uint64_t case_fs, thread_fs;
__attribute__((used)) static uint32_t case_fs_selector;

static void note(ucontext_t *u)
{
  greg_t *g = u->uc_mcontext.gregs;
  if (filled > sizeof out - 200000) put_out();
  struct answer *a = (struct answer *)(out + filled);
  memset(a, 0, sizeof *a);
  a->trap = g[REG_TRAPNO];
  a->error = g[REG_ERR];
  a->cr2 = g[REG_CR2];
  a->rip = g[REG_RIP];
  a->rflags = g[REG_EFL];
  for (int i = 0; i < 16; i++) a->gpr[i] = g[order[i]];
  a->cs = g[REG_CSGSFS];
  a->ss = g[REG_CSGSFS] >> 48;
  a->ds = selector(0), a->es = selector(1), a->fs = case_fs_selector, a->gs = selector(2);
  a->fs_base = case_fs;
  __asm__ volatile("rdgsbase %0" : "=r"(a->gs_base));
  memcpy(a->fxsave, u->uc_mcontext.fpregs, 512);
  for (int page = 0; page < PAGES; page++) {
    const uint8_t *is = window(page), *was = expected + page * PAGE;
    if (memcmp(is, was, PAGE) == 0) continue;
    for (int i = 0; i < PAGE; i++)
      if (is[i] != was[i]) a->change[a->changes++] = (uint32_t)(page * PAGE + i) << 8 | is[i];
  }
  a->size = sizeof *a + ((a->changes * 4 + 7) & ~7u);
  filled += a->size;
}

/* Puts the next case in place of the interrupted context. */
static void prepare(ucontext_t *u, const struct test *t)
{
  greg_t *g = u->uc_mcontext.gregs;
  for (int page = 0; page < CODE_PAGES; page++) memset(window(page), 0xcc, PAGE);
  memcpy((void *)(uintptr_t)DATA, pristine, WRITABLE_PAGES * PAGE);
  memcpy((void *)(uintptr_t)t->code_at, t->code, t->length);
  for (int i = 0; i < 2; i++) memcpy((void *)(uintptr_t)t->patch_at[i], t->patch[i], t->patch_length);
  for (int page = 0; page < PAGES; page++) memcpy(expected + page * PAGE, window(page), PAGE);
  for (int i = 0; i < 16; i++) g[order[i]] = t->gpr[i];
  g[REG_RIP] = t->rip;
  g[REG_EFL] = t->rflags | (t->flags & FLAG_STEP ? 0x100 : 0);
  g[REG_CSGSFS] = (uint64_t)t->ss << 48 | t->cs;
  g[REG_CR2] = 0;
  uint8_t *fp = (uint8_t *)u->uc_mcontext.fpregs;
  memcpy(fp, t->fxsave, 416);
  /* The XSAVE header behind the image: x87 and SSE are to be loaded from it. */
  *(uint64_t *)(fp + 512) |= 3;
  u->uc_flags |= 6;      /* strict: SS as given */
  __asm__ volatile("mov %0, %%ds; mov %1, %%es" : : "r"(t->ds), "r"(t->es));
  __asm__ volatile("mov %0, %%gs; wrgsbase %1" : : "r"(0), "r"((uint64_t)GS_BASE));
}

__attribute__((used)) static void on_signal(int sig, siginfo_t *info, void *context)
{
  (void)info;
  ucontext_t *u = context;
  if (running) {
    if (sig == SIGVTALRM) u->uc_mcontext.gregs[REG_TRAPNO] = TIMED_OUT;
    if (sig == SIGSYS) u->uc_mcontext.gregs[REG_TRAPNO] = SYSTEM_CALL;
    note(u);
  }
  running = 1;
  if (current == count) {
    put_out();
    _exit(0);
  }
  prepare(u, &tests[current++]);
  struct itimerval limit = { .it_value = { 0, 20000 } };
  syscall(SYS_setitimer, ITIMER_VIRTUAL, &limit, 0);
}

/*
 * The first instructions of a handler must not depend on what the case left: AC, and the base of FS, by which C finds its
 * thread. NT and ID would go on to the next case, for sigreturn leaves them.
 */
__attribute__((naked)) static void entry(int sig, siginfo_t *info, void *context)
{
  (void)sig; (void)info; (void)context;
  __asm__("pushfq; andl $~0x244400, (%rsp); popfq\n"
          "mov %fs, %eax; mov %eax, case_fs_selector(%rip)\n"
          "rdfsbase %rax; mov %rax, case_fs(%rip)\n"
          "mov thread_fs(%rip), %rax; wrfsbase %rax\n"
          "sub $8, %rsp; call on_signal; add $8, %rsp\n"
          "xor %eax, %eax; mov %eax, %fs\n"
          "mov $0x20000400, %eax; wrfsbase %rax      # FS_BASE\n"
          "ret");
}

/* System calls are allowed to this program's text and libc's, which lie above 4 GiB; the cases' code lies below. */
static void confine(void)
{
  struct sock_filter filter[] = {
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 0, 3),
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, instruction_pointer) + 4),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, 0),
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
  };
  struct sock_fprog program = { sizeof filter / sizeof *filter, filter };
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)) exit(4);
}

int main(void)
{
  size_t room = 1 << 20, got = 0;
  uint8_t *input = malloc(room);
  for (long n; (n = read(0, input + got, room - got)) > 0;)
    if ((got += n) == room) input = realloc(input, room *= 2);
  tests = (struct test *)input;
  count = got / sizeof *tests;

  int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
  mmap((void *)CODE, CODE_PAGES * PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, flags, -1, 0);
  mmap((void *)DATA, DATA_PAGES * PAGE, PROT_READ | PROT_WRITE, flags, -1, 0);
  uint32_t seed = 1;
  for (size_t i = 0; i < sizeof pristine; i++) {
    seed = seed * 1664525 + 1013904223;
    pristine[i] = i & 0x100 ? seed >> 30 : seed >> 24;       /* in turns any bytes and small ones, which repeat */
  }
  memcpy((void *)DATA, pristine, sizeof pristine);
  memset((void *)CODE, 0xcc, CODE_PAGES * PAGE);
  mprotect((void *)(DATA + WRITABLE_PAGES * PAGE), (DATA_PAGES - WRITABLE_PAGES) * PAGE, PROT_READ);

  /* Segments with a base: code in 32 and 16 bits, data small and large, and a stack. As machine.ts has them. */
  struct user_desc segments[] = {
    { .entry_number = 0, .base_addr = CODE, .limit = 0x1fff, .seg_32bit = 1, .contents = 2, .useable = 1 },
    { .entry_number = 1, .base_addr = CODE, .limit = 0x1fff, .seg_32bit = 0, .contents = 2, .useable = 1 },
    { .entry_number = 2, .base_addr = DATA, .limit = 0x1fff, .seg_32bit = 1, .contents = 0, .useable = 1 },
    { .entry_number = 3, .base_addr = DATA, .limit = 0x27ff, .seg_32bit = 0, .contents = 0, .useable = 1 },
  };
  for (int i = 0; i < 4; i++) if (syscall(SYS_modify_ldt, 0x11, &segments[i], sizeof *segments) != 0) return 5;

  __asm__ volatile("rdfsbase %0" : "=r"(thread_fs));
  stack_t stack = { .ss_sp = malloc(1 << 18), .ss_size = 1 << 18 };
  sigaltstack(&stack, 0);
  struct sigaction action = { .sa_sigaction = entry, .sa_flags = SA_SIGINFO | SA_ONSTACK };
  sigfillset(&action.sa_mask);
  int caught[] = { SIGSEGV, SIGFPE, SIGILL, SIGTRAP, SIGBUS, SIGSYS, SIGVTALRM };
  for (unsigned i = 0; i < sizeof caught / sizeof *caught; i++) sigaction(caught[i], &action, 0);
  confine();
  raise(SIGTRAP);
  return 6;
}
