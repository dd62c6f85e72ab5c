/*
 * Runs SSE, AES, SHA and MMX instructions on the processor it is started on and prints hashes of what became of registers,
 * memory, flags and MXCSR: the oracle of test/engine/simd-vectors.test.ts.
 *
 *   gcc -O1 -o simd-vectors simd-vectors.c && node --import tsx simd-forms.ts | ./simd-vectors > ../golden/simd-vectors.txt
 *   echo "ADDPS 0f58ca f 256" | ./simd-vectors --show 17
 *   … | ./simd-vectors --group 1                       a hash a case; SIMD_GROUP=1 and SIMD_VECTORS=file make the test compare them
 *
 * Input: the lines of simd-forms.ts. The inputs of case i come from the generator below, seeded by a hash of the code bytes and i; the
 * test repeats them. Output: the line and a hash for each 16 cases; with --show N everything about case N.
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

struct state { uint32_t xmm[12]; uint32_t mem[8]; uint64_t rax, rbx, rcx, rdx; uint64_t mm[2]; uint32_t mxcsr, flags; uint64_t rsi; };

static uint32_t seed;
static uint32_t next(void)
{
    uint32_t t = seed += 0x6d2b79f5;
    t = (t ^ t >> 15) * (1 | t);
    t = (t + (t ^ t >> 7) * (61 | t)) ^ t;
    return t ^ t >> 14;
}
static const uint32_t edges[16] = { 0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff, 0x00ff00ff, 0x7f807f80, 0x80008000, 0xff7f0001, 0x55aa55aa };
static uint32_t integer(void)
{
    uint32_t kind = next() & 3, v = next();
    return kind == 0 ? edges[v & 15] : kind == 1 ? v & 0x0f0f0f0f : v;
}
static uint32_t text(void)
{
    uint32_t v = next(), zero = next();
    v = (v & 0x03030303) + 0x01010101;
    for (int i = 0; i < 4; i++) if ((zero >> 8 * i & 15) == 0) v &= ~(0xffu << 8 * i);
    if ((zero >> 28) == 1) v |= next() & 0x80808080;
    return v;
}
static const uint32_t floats[16] = { 0, 0x80000000, 0x3f800000, 0xbfc00000, 0x7f800000, 0xff800000, 0x7fc00123, 0xffa00001, 0x007fffff, 0x7f7fffff, 0x80000001, 0x00800000, 0xcf000000, 0x4f000000, 0x5f000000, 0x40900000 };
static uint32_t single(void)
{
    uint32_t kind = next() & 7, v = next();
    if (kind == 0) return floats[v & 15];
    if (kind == 1) return (v & 0x807fffff) | (v >> 20 & 7) << 23;
    if (kind == 2) return (v & 0x807fffff) | (0x78 + (v >> 24 & 7)) << 24 >> 1 << 1;
    if (kind == 3) return (v & 0x80f80000) | 0x3f000000;
    if (kind == 4) return v;
    if (kind == 5) return (v & 0x807fffff) | (0x95 + (v >> 25 & 31)) << 23;
    return (v & 0x80ffffff) | 0x3f000000;
}
static const uint32_t highs[16] = { 0, 0x80000000, 0x3ff00000, 0xbff80000, 0x7ff00000, 0xfff00000, 0x7ff80000, 0xfff40000, 0x000fffff, 0x7fefffff, 0x80000000, 0x00100000, 0xc1e00000, 0x41e00000, 0x43e00000, 0x380fffff };
static const uint32_t lows[16] = { 0, 0, 0, 0, 0, 0, 0x123, 1, 0xffffffff, 0xffffffff, 1, 0, 0, 0, 0, 0xffffffff };
static void twin(uint32_t *at)
{
    uint32_t kind = next() & 7, v = next(), w = next();
    at[0] = w;
    if (kind == 0) at[0] = lows[v & 15], at[1] = highs[v & 15];
    else if (kind == 1) at[1] = (v & 0x800fffff) | (v >> 20 & 7) << 20;
    else if (kind == 2) at[1] = (v & 0x800fffff) | (0x7f8u | (v >> 24 & 7)) << 20;
    else if (kind == 3) at[1] = (v & 0x80ff0000) | 0x3f800000, at[0] = 0;
    else if (kind == 4) at[1] = v;
    else if (kind == 5) at[1] = (v & 0x800fffff) | (0x41d + (v >> 22 & 63)) << 20;
    else if (kind == 6) at[1] = (v & 0x800fffff) | (0x370 + (v >> 22 & 31)) << 20, at[0] = w & (v & 1 ? 0xe0000000 : 0xffffffff);
    else at[1] = (v & 0x801fffff) | 0x3fe00000;
}
static void fill(uint32_t *at, int words, char kind)
{
    for (int i = 0; i < words; i++) {
        if (kind == 'd') { twin(at + i); i++; }
        else at[i] = kind == 'f' ? single() : kind == 's' ? text() : integer();
    }
}

static sigjmp_buf trap;
static uint32_t fault_mxcsr;
static void on_fault(int sig, siginfo_t *info, void *context)
{
    ucontext_t *uc = context;
    (void)sig; (void)info;
    fault_mxcsr = uc->uc_mcontext.fpregs->mxcsr;
    siglongjmp(trap, 1 + (int)uc->uc_mcontext.gregs[REG_TRAPNO]);
}

static uint32_t hash;
static void mix(uint32_t v) { hash = (hash ^ v) * 0x01000193; hash ^= hash >> 15; }

static unsigned char *code;
static void put(const char *bytes, int n) { memcpy(code, bytes, n); code += n; }
static uint32_t normal_mxcsr = 0x1f80;

static void show(const char *what, struct state *s)
{
    printf("%s xmm0 %08x%08x%08x%08x xmm1 %08x%08x%08x%08x xmm2 %08x%08x%08x%08x\n", what, s->xmm[3], s->xmm[2], s->xmm[1], s->xmm[0], s->xmm[7], s->xmm[6], s->xmm[5], s->xmm[4], s->xmm[11], s->xmm[10], s->xmm[9], s->xmm[8]);
    printf("  mem %08x%08x%08x%08x %08x%08x%08x%08x rax %lx rbx %lx rcx %lx rdx %lx\n", s->mem[7], s->mem[6], s->mem[5], s->mem[4], s->mem[3], s->mem[2], s->mem[1], s->mem[0], s->rax, s->rbx, s->rcx, s->rdx);
    printf("  mm1 %016lx mm2 %016lx mxcsr %04x flags %03x\n", s->mm[0], s->mm[1], s->mxcsr, s->flags & 0x8d5);
}

int main(int argc, char **argv)
{
    int shown = argc == 3 && !strcmp(argv[1], "--show") ? atoi(argv[2]) : -1, group = argc == 3 && shown < 0 ? atoi(argv[2]) : 16;
    unsigned char *page = mmap(0, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char name[64], hex[64], kind;
    int cases;
    struct sigaction action = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_NODEFER };
    sigaction(SIGFPE, &action, 0); sigaction(SIGILL, &action, 0); sigaction(SIGSEGV, &action, 0); sigaction(SIGBUS, &action, 0);
    static struct { _Alignas(64) struct state s; } at;
    struct state *s = &at.s;
    while (scanf("%63s %63s %c %d", name, hex, &kind, &cases) == 4) {
        unsigned char snippet[32];
        int n = strlen(hex) / 2;
        uint32_t form = 0x811c9dc5;
        for (int i = 0; i < n; i++) { sscanf(hex + 2 * i, "%2hhx", &snippet[i]); form = (form ^ snippet[i]) * 0x01000193; }
        code = page;
        put("\x53\x55\x49\x89\xf8", 5);                                     /* push rbx; push rbp; mov r8, rdi */
        put("\xf3\x41\x0f\x6f\x00\xf3\x41\x0f\x6f\x48\x10\xf3\x41\x0f\x6f\x50\x20", 17); /* movdqu xmm0..2 */
        put("\x49\x8b\x40\x50\x49\x8b\x58\x58\x49\x8b\x48\x60\x49\x8b\x50\x68", 16); /* rax rbx rcx rdx */
        put("\x41\x0f\x6f\x48\x70\x41\x0f\x6f\x50\x78", 10);              /* movq mm1, mm2 */
        put("\x49\x8b\xb0\x88\x00\x00\x00", 7);                             /* mov rsi, [r8+0x88] */
        put("\x41\x8b\xb8\x84\x00\x00\x00\x57\x9d", 9);                   /* mov edi, flags; push rdi; popfq */
        put("\x41\x0f\xae\x90\x80\x00\x00\x00", 8);                         /* ldmxcsr [r8+0x80] */
        put((char *)snippet, n);
        put("\x41\x0f\xae\x98\x80\x00\x00\x00", 8);                         /* stmxcsr */
        put("\x9c\x5f\x41\x89\xb8\x84\x00\x00\x00", 9);                    /* pushfq; pop rdi; mov flags, edi */
        put("\xf3\x41\x0f\x7f\x00\xf3\x41\x0f\x7f\x48\x10\xf3\x41\x0f\x7f\x50\x20", 17);
        put("\x49\x89\x40\x50\x49\x89\x58\x58\x49\x89\x48\x60\x49\x89\x50\x68", 16);
        put("\x41\x0f\x7f\x48\x70\x41\x0f\x7f\x50\x78\x0f\x77\x5d\x5b\xc3", 15);
        if (shown < 0) printf("%s %s %c %d ", name, hex, kind, cases);
        hash = 0;
        for (int i = 0; i < cases; i++) {
            seed = form + i * 0x9e3779b9u;
            uint32_t how = next();
            fill(s->xmm, 12, kind);
            fill(s->mem, 8, kind);
            s->rax = (uint64_t)integer() << 32; s->rax |= integer(); s->rbx = (uint64_t)integer() << 32; s->rbx |= integer();
            s->rcx = (uint64_t)integer() << 32; s->rcx |= integer(); s->rdx = (uint64_t)integer() << 32; s->rdx |= integer();
            if (how & 0x100) s->rax = (int64_t)(int32_t)(next() % 40) - 20, s->rdx = (int64_t)(int32_t)(next() % 40) - 20;
            uint32_t mm[4];
            fill(mm, 4, kind == 'f' ? 'f' : 'i');
            s->mm[0] = (uint64_t)mm[1] << 32 | mm[0]; s->mm[1] = (uint64_t)mm[3] << 32 | mm[2];
            s->flags = (next() & 0x8d5) | 0x202;
            uint32_t m = next();
            s->mxcsr = (how & 3) == 0 ? 0x1f80 : (how & 3) == 1 ? 0x1fa0 : (how & 0xc) ? 0x1f80 | (m & 0xe07f) : m & 0xffff;
            if (how & 0x10) memcpy(s->mem, s->xmm + 4, 16);
            if ((how & 0x60) == 0x60) memcpy(s->xmm + 8, s->xmm + 4, 16);
            s->rsi = (uint64_t)s->mem;
            if (shown == i) show("before", s);
            int vector = sigsetjmp(trap, 1);
            if (vector == 0) {
                ((void (*)(struct state *))page)(s);
                __asm__ volatile("ldmxcsr %0" : : "m"(normal_mxcsr));
                if (shown == i) show("after", s);
                for (int x = 0; x < 12; x++) mix(s->xmm[x]);
                for (int x = 0; x < 8; x++) mix(s->mem[x]);
                uint64_t *r = &s->rax;
                for (int x = 0; x < 6; x++) mix(r[x]), mix(r[x] >> 32);
                mix(s->flags & 0x8d5);
                mix(s->mxcsr);
            } else {
                if (shown == i) printf("vector %d mxcsr %04x\n", vector - 1, fault_mxcsr);
                mix(vector - 1);
                mix(fault_mxcsr);
            }
            if (i % group == group - 1) { if (shown < 0) printf("%08x", hash); hash = 0; }
        }
        if (shown < 0) printf("\n");
        fflush(stdout);
    }
}
