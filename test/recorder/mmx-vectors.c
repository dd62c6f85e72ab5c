/*
 * Records what the processor's own MMX unit answers: test/golden/mmx-vectors.txt. Run by hand on an x86-64 machine:
 *   gcc -O1 -o /tmp/mmx test/recorder/mmx-vectors.c && /tmp/mmx COUNT SEED > test/golden/mmx-vectors.txt
 * Before each instruction: mm0 = a, mm1 = b, xmm0 = b:a, xmm1 = a:b, rax = a, rcx = b. A line: the instruction's bytes, a, b, and
 * afterwards mm0, xmm0's high and low half, rax.
 */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static uint64_t state;
static uint64_t rnd(void) { state ^= state << 13; state ^= state >> 7; state ^= state << 17; return state; }

static uint64_t operand(void) {
  static const uint16_t edge[] = { 0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 0x7f80, 0x0100 };
  uint64_t v = 0;
  switch (rnd() % 6) {
    case 0: for (int i = 0; i < 4; i++) v = v << 16 | edge[rnd() % 10]; return v;
    case 1: return rnd() % 80;                                                             /* shift counts */
    case 2: { float f[2] = { (int32_t)rnd() / 1000.0f, (float)((int)(rnd() % 2001) - 1000) / 4 }; memcpy(&v, f, 8); return v; }
    case 3: { double f = (int)(rnd() % 4000001 - 2000000) / 8.0 * (rnd() % 3 ? 1 : 4000); memcpy(&v, &f, 8); return v; }
    default: return rnd();
  }
}

int main(int argc, char **argv) {
  int count = argc > 1 ? atoi(argv[1]) : 4;
  state = argc > 2 ? strtoull(argv[2], 0, 0) : 88172645463325252ull;
  static const char *forms[] = {
    "0f60c1", "0f61c1", "0f62c1", "0f63c1", "0f64c1", "0f65c1", "0f66c1", "0f67c1", "0f68c1", "0f69c1", "0f6ac1", "0f6bc1", "0f6ec1", "480f6ec1", "0f6fc1", "0f70c11b", "0f70c1e4", "0f70c193",
    "0f71d003", "0f71e003", "0f71f003", "0f71e011", "0f72d007", "0f72e007", "0f72f007", "0f72e022", "0f73d009", "0f73f009", "0f73d040", "0f74c1", "0f75c1", "0f76c1", "0f7ec8", "480f7ec8", "0f7fc8",
    "0fc4c102", "0fc5c103", "0fd1c1", "0fd2c1", "0fd3c1", "0fd4c1", "0fd5c1", "0fd7c1", "0fd8c1", "0fd9c1", "0fdac1", "0fdbc1", "0fdcc1", "0fddc1", "0fdec1", "0fdfc1", "0fe0c1", "0fe1c1", "0fe2c1",
    "0fe3c1", "0fe4c1", "0fe5c1", "0fe8c1", "0fe9c1", "0feac1", "0febc1", "0fecc1", "0fedc1", "0feec1", "0fefc1", "0ff1c1", "0ff2c1", "0ff3c1", "0ff4c1", "0ff5c1", "0ff6c1", "0ff8c1", "0ff9c1",
    "0ffac1", "0ffbc1", "0ffcc1", "0ffdc1", "0ffec1", "f30fd6c1", "f20fd6c1", "0f2ac1", "660f2ac1", "0f2cc1", "0f2dc1", "660f2cc1", "660f2dc1" };
  uint8_t *code = mmap(0, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  for (unsigned f = 0; f < sizeof forms / sizeof *forms; f++) {
    unsigned n = strlen(forms[f]) / 2;
    for (unsigned i = 0; i < n; i++) sscanf(forms[f] + 2 * i, "%2hhx", code + i);
    code[n] = 0xc3;
    for (int i = 0; i < count; i++) {
      uint64_t a = operand(), b = operand(), mm, low, high, rax = a;
      uint64_t ab[2] = { a, b }, ba[2] = { b, a }, out[2];
      asm volatile("movq %2, %%mm0\n movq %3, %%mm1\n movups %4, %%xmm0\n movups %5, %%xmm1\n mov %3, %%rcx\n call *%6\n movq %%mm0, %0\n movups %%xmm0, %7\n emms"
        : "=m"(mm), "+a"(rax) : "m"(a), "m"(b), "m"(ab), "m"(ba), "r"(code), "m"(out) : "rcx", "rdx", "xmm0", "xmm1", "memory");
      low = out[0]; high = out[1];
      printf("%s %016llx %016llx %016llx %016llx %016llx %016llx\n", forms[f], (unsigned long long)a, (unsigned long long)b, (unsigned long long)mm, (unsigned long long)high, (unsigned long long)low, (unsigned long long)rax);
    }
  }
}
