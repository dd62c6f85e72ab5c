/*
 * A Linux program without a C library, for the kernel's test of ELF and ring 3. Built by
 *   gcc -O1 -static -nostdlib -ffreestanding -fno-stack-protector -fno-asynchronous-unwind-tables -mno-avx -Wl,--build-id=none -s -o program.elf program.c
 */
typedef unsigned long u64;
static long sys(long nr, long a, long b, long c, long d, long e, long f) {
  long r; register long r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;
  __asm__ volatile("syscall" : "=a"(r) : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9) : "rcx", "r11", "memory");
  return r;
}
#define S0(n) sys(n, 0, 0, 0, 0, 0, 0)
#define S3(n, a, b, c) sys(n, (long)(a), (long)(b), (long)(c), 0, 0, 0)
#define S4(n, a, b, c, d) sys(n, (long)(a), (long)(b), (long)(c), (long)(d), 0, 0)
static char line[128]; static int at;
static void text(const char *s) { while (*s) line[at++] = *s++; }
static void number(long n) { char b[24]; int i = 24; u64 u = n < 0 ? -n : n; do b[--i] = '0' + u % 10; while (u /= 10); if (n < 0) b[--i] = '-'; while (i < 24) line[at++] = b[i++]; }
static void say(const char *s, long n) { at = 0; text(s); text(" "); number(n); text("\n"); S3(1, 1, line, at); }

struct action { void (*handler)(int, int *, void *); u64 flags; void (*restorer)(void); u64 mask; };
__asm__("restorer: mov $15, %eax; syscall");
void restorer(void);
static volatile int caught, from;
static void on_signal(int sig, int *info, void *context) { (void)context; caught = sig; from = info[4]; }
static void on_fault(int sig, int *info, void *context) { (void)sig; (void)context; say("fault at", *(long *)(info + 4)); S3(231, 9, 0, 0); }
static void handle(int sig, void (*f)(int, int *, void *)) { struct action a = { f, 4 | 0x4000000, restorer, 0 }; S4(13, sig, &a, 0, 8); }

static volatile double half = 0.5; static volatile int shared = 1, tid_word;
static char stack[16384] __attribute__((aligned(16)));
static int thread(void) { shared = 77; S3(60, 0, 0, 0); return 0; }

long start(long *sp) {
  char **argv = (char **)(sp + 1);
  say("argc", sp[0]); say("argv1", argv[1][0]);
  double x = 1; for (int i = 0; i < 10; i++) x = x * half + 3; say("float", (long)(x * 1000));
  handle(10, on_signal);
  long me = S0(39); S3(62, me, 10, 0); say("caught", caught); say("from me", from == me);
  int status = 0; long child = S0(57);
  if (child == 0) { shared = 5; say("child sees", shared); handle(11, on_fault); *(volatile int *)0x123000 = 1; S3(231, 1, 0, 0); }
  S4(61, child, &status, 0, 0); say("status", status); say("parent sees", shared);
  tid_word = 1;
  long r; register long r10 __asm__("r10") = (long)&tid_word, r8 __asm__("r8") = 0;
  __asm__ volatile("syscall\n test %%rax,%%rax\n jnz 1f\n call *%%rbx\n 1:" : "=a"(r) : "a"(56), "D"(0x210f00), "S"(stack + sizeof stack), "d"(0), "r"(r10), "r"(r8), "b"(thread) : "rcx", "r11", "memory");
  while (tid_word) sys(202, (long)&tid_word, 0, 1, 0, 0, 0);
  say("thread left", shared);
  u64 spins = 0; struct { long i, iu, v, vu; } timer = { 0, 0, 0, 20000 }; handle(14, on_signal); S3(38, 0, &timer, 0); while (caught != 14) spins++;
  say("timer after spinning", spins > 1000);
  say("bad write", S3(1, 1, 8, 5)); say("no such call", S0(999));
  struct { long s, n; } nap = { 0, 1000000 }; say("sleep", S3(35, &nap, 0, 0));
  return 42;
}
__asm__(".globl _start\n_start: mov %rsp,%rdi; and $-16,%rsp; call start; mov %eax,%edi; mov $231,%eax; syscall");
