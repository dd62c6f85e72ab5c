/*
 * Runs snippets of machine code on the processor it is started on and prints what became of registers, memory and
 * flags: the oracle of test/engine/alu-vectors.test.ts.
 *
 *   gcc -O1 -static -no-pie -o alu-vectors alu-vectors.c && ./alu-vectors < ../golden/alu-forms.txt > ../golden/alu-vectors.txt
 *
 * Input: a line a form, "name hexcode". A snippet may use rax rbx rcx rdx rdi xmm0 xmm1, rsi as pointer to 16 bytes of memory,
 * and flags. A name that starts with * wants floats in memory, one with % is run as 32-bit code. Inputs of case i of form f come from the generator below, which the test repeats. Output: a line a form,
 * "name hexcode" and then, for each case, DE if #DE was raised, else what changed (r rax, b rbx, s rcx, d rdx, t rdi, m and n the
 * quadwords at rsi and after it, x and y the halves of xmm0) and the arithmetic flags, all in hex.
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { CASES = 8 };
struct state { uint64_t rax, rbx, rcx, rdx, rdi, rsi, flags, spare; uint64_t mem[4]; uint64_t xmm[4]; };

static uint64_t seed;
static uint64_t next(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}
/* Edge values, short values, random ones. */
static uint64_t value(void)
{
    static const uint64_t edges[] = { 0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff,
        0x7fffffffffffffff, 0x8000000000000000, 0xffffffffffffffff, 0x5555555555555555, 0xaaaaaaaaaaaaaaaa };
    uint64_t kind = next() & 3, v = next();
    if (kind == 0) return edges[v & 15];
    if (kind == 1) return v & 0x3f;
    if (kind == 2) return v >> (next() & 63);
    return v;
}

/* Eight bytes for floats: a double, two floats, or any of the above. */
static uint64_t floating(void)
{
    static const uint64_t doubles[] = { 0, 0x8000000000000000, 0x3ff0000000000000, 0xbff8000000000000, 0x7ff0000000000000, 0xfff0000000000000,
        0x7ff8000000000123, 0xfff4000000000001, 0x000fffffffffffff, 0x7fefffffffffffff, 0x3fb999999999999a, 0x41e0000000000000,
        0xc1e0000000000000, 0x43e0000000000000, 0xc3e0000000000000, 0x4012000000000000 };
    static const uint32_t floats[] = { 0, 0x80000000, 0x3f800000, 0xbfc00000, 0x7f800000, 0xff800000, 0x7fc00123, 0xffa00001,
        0x007fffff, 0x7f7fffff, 0x3dcccccd, 0x4f000000, 0xcf000000, 0x5f000000, 0x40900000, 0xc0200000 };
    uint64_t kind = next() & 3, v = next();
    if (kind == 0) return doubles[v & 15];
    if (kind == 1) return (uint64_t)floats[v & 15] << 32 | floats[v >> 4 & 15];
    if (kind == 2) return 0x4000000000000000 | (v & 0x80ffffffffffffff);
    return value();
}

static sigjmp_buf trap;
static void on_fpe(int sig) { (void)sig; siglongjmp(trap, 1); }
static void on_ill(int sig) { (void)sig; siglongjmp(trap, 2); }

static unsigned char *code;
static void put(const char *bytes, int n) { memcpy(code, bytes, n); code += n; }

/* 32-bit code lies below 4 GiB, with the state it works on behind it. */
struct { uint32_t offset; uint16_t selector; } __attribute__((packed)) compatibility = { 0x10000000, 0x23 };
static struct state *const low = (struct state *)0x10001000;

static void run32(struct state *s)
{
    *low = *s;
    __asm__ volatile("mov $0x2b, %%eax; mov %%eax, %%ds; mov %%eax, %%es; mov %%rsp, %%r12; mov $0x10001f00, %%esp; lcall *compatibility(%%rip); mov %%r12, %%rsp"
        : : : "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "memory", "cc");
    *s = *low;
}
static void write32(const unsigned char *snippet, int n)
{
    code = (unsigned char *)0x10000000;
    put("\xbd\x00\x10\x00\x10", 5);                               /* mov ebp, low */
    put("\x8b\x45\x00\x8b\x5d\x08\x8b\x4d\x10\x8b\x55\x18\x8b\x7d\x20", 15); /* eax ebx ecx edx edi */
    put("\xff\x75\x30\x9d", 4);
    put((const char *)snippet, n);
    put("\x9c\x8f\x45\x30\xfc", 5);
    put("\x89\x45\x00\x89\x5d\x08\x89\x4d\x10\x89\x55\x18\x89\x7d\x20\xcb", 16);
}

int main(void)
{
    unsigned char *page = mmap(0, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    mmap((void *)0x10000000, 8192, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    char name[64], hex[512];
    signal(SIGFPE, on_fpe);
    signal(SIGILL, on_ill);
    signal(SIGSEGV, on_ill);
    for (uint64_t form = 0; scanf("%63s %511s", name, hex) == 2; form++) {
        unsigned char snippet[256];
        int n = strlen(hex) / 2;
        for (int i = 0; i < n; i++) sscanf(hex + 2 * i, "%2hhx", &snippet[i]);
        code = page;
        put("\x53\x55\x49\x89\xf8", 5);                       /* push rbx; push rbp; mov r8, rdi */
        put("\x49\x8b\x00\x49\x8b\x58\x08\x49\x8b\x48\x10", 11); /* mov rax,[r8]; rbx,[r8+8]; rcx,[r8+16] */
        put("\x49\x8b\x50\x18\x49\x8b\x78\x20\x49\x8b\x70\x28", 12); /* rdx, rdi, rsi */
        put("\xf3\x41\x0f\x6f\x40\x60\xf3\x41\x0f\x6f\x48\x70", 12); /* movdqu xmm0,[r8+96]; xmm1,[r8+112] */
        put("\x41\xff\x70\x30\x9d", 5);                       /* push [r8+48]; popfq */
        put((char *)snippet, n);
        put("\x9c\x41\x8f\x40\x30\xfc", 6);                   /* pushfq; pop [r8+48]; cld */
        put("\xf3\x41\x0f\x7f\x40\x60", 6);                 /* movdqu [r8+96],xmm0 */
        put("\x49\x89\x00\x49\x89\x58\x08\x49\x89\x48\x10", 11);
        put("\x49\x89\x50\x18\x49\x89\x78\x20\x5d\x5b\xc3", 11);
        if (name[0] == '%') write32(snippet, n);
        printf("%s %s", name, hex);
        for (int i = 0; i < CASES; i++) {
            _Alignas(16) static struct state s;
            seed = (form * CASES + i + 1) * 0x9e3779b97f4a7c15;
            s.rax = value(); s.rbx = value(); s.rcx = value(); s.rdx = value(); s.rdi = value();
            s.mem[0] = value(); s.mem[1] = value(); s.mem[2] = value(); s.mem[3] = value();
            s.flags = (next() & 0x8d5) | 0x202;
            /* Divisions that succeed now and then. */
            if (next() & 1) s.rdx = (next() & 1) ? 0 : (uint64_t)((int64_t)s.rax >> 63);
            for (int x = 0; x < 4; x++) s.xmm[x] = floating();
            if (name[0] == '*') s.mem[2] = floating(), s.mem[3] = floating();
            s.rsi = (uint64_t)&s.mem[2];
            struct state before = s;
            int failed = sigsetjmp(trap, 1);
            if (failed) { printf(" %s", failed == 1 ? "DE" : "UD"); continue; }
            if (name[0] == '%') run32(&s);
            else ((void (*)(struct state *))page)(&s);
            printf(" ");
            uint64_t *was = &before.rax, *is = &s.rax;
            for (int r = 0; r < 5; r++) if (is[r] != was[r]) printf("%c%lx,", "rbsdt"[r], is[r]);
            for (int m = 2; m < 4; m++) if (s.mem[m] != before.mem[m]) printf("%c%lx,", "mn"[m - 2], s.mem[m]);
            for (int x = 0; x < 2; x++) if (s.xmm[x] != before.xmm[x]) printf("%c%lx,", "xy"[x], s.xmm[x]);
            printf("%lx", s.flags & 0x8d5);
        }
        printf("\n");
    }
    return 0;
}
