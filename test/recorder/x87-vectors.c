/*
 * Records what the processor's own x87 answers: test/golden/x87-vectors.txt. Run by hand on an x86-64 machine:
 *   gcc -O1 -o /tmp/x87 test/recorder/x87-vectors.c && /tmp/x87 COUNT SEED > test/golden/x87-vectors.txt
 * A line: operation, control word, ST(0) and ST(1) before, ST(0) after (or what was stored), status word after.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct { uint64_t mantissa; uint16_t head; } __attribute__((packed)) ext;

static uint64_t state;
static uint64_t rnd(void) { state ^= state << 13; state ^= state >> 7; state ^= state << 17; return state; }

static ext operand(void) {
  ext x;
  uint64_t top = 1ull << 63;
  x.head = rnd() & 0x8000;
  switch (rnd() % 14) {
    case 0: x.mantissa = 0; break;                                              /* zero */
    case 1: x.head |= 0x7fff; x.mantissa = top; break;                          /* infinity */
    case 2: x.head |= 0x7fff; x.mantissa = rnd() | top | 1ull << 62; break;     /* quiet NaN */
    case 3: x.head |= 0x7fff; x.mantissa = ((rnd() | top) & ~(1ull << 62)) | 1; break;   /* signaling NaN */
    case 4: x.mantissa = rnd() >> (1 + rnd() % 63); break;                      /* denormal */
    case 5: x.head |= 1 + rnd() % 0x7ffe; x.mantissa = rnd() | top; break;      /* anything normal */
    case 6: x.head |= 0x3fff + rnd() % 64; x.mantissa = (rnd() | top) & ~0ull << rnd() % 64; x.mantissa |= top; break;  /* near integers */
    case 7: x.head |= 0x3fff - 1023 - rnd() % 60; x.mantissa = rnd() | top; break;   /* at the edge of double */
    case 8: x.head |= 0x3fff - 127 - rnd() % 30; x.mantissa = rnd() | top; break;    /* at the edge of float */
    case 9: x.head |= 0x3fff + 120 + rnd() % 16; x.mantissa = rnd() | top; break;
    default: x.head |= 0x3fff - 8 + rnd() % 16; x.mantissa = rnd() | top; break;
  }
  return x;
}

static void show(ext x) { printf(" %04x%016llx", x.head, (unsigned long long)x.mantissa); }

#define BEGIN "fninit\n fldcw %3\n fldt %2\n fldt %1\n"
#define RUN(body) asm volatile(BEGIN body : "=m"(out) : "m"(a), "m"(b), "m"(cw), "m"(sw), "m"(*(char (*)[16])memory) : "memory", "ax", "cc")
#define TO_STACK(text) RUN(text "\n fnstsw %4\n fninit\n fldcw %3\n fldt %1\n" )

int main(int argc, char **argv) {
  int count = argc > 1 ? atoi(argv[1]) : 100;
  state = argc > 2 ? strtoull(argv[2], 0, 0) : 88172645463325252ull;
  static const char *names[] = { "fadd", "fmul", "fsub", "fsubr", "fdiv", "fdivr", "fsqrt", "frndint", "fscale", "fprem", "fprem1", "fxtract", "fcom", "fucom", "fxam", "ftst",
    "fst32", "fst64", "fistp16", "fistp32", "fistp64", "fbstp", "fabs", "fchs" };
  for (int i = 0; i < count; i++)
    for (unsigned op = 0; op < sizeof names / sizeof *names; op++) {
      ext a = operand(), b = operand(), out = { 0, 0 };
      /* Quotients of remainders are taken whole only when the exponents are close: others go in several steps. */
      if (op == 9 || op == 10) { if ((b.head & 0x7fff) != 0x7fff && (b.head & 0x7fff)) b.head = (b.head & 0x8000) | ((a.head & 0x7fff) > 40 ? (a.head & 0x7fff) - rnd() % 40 : 1); }
      uint16_t cw = 0x7f | (rnd() % 4) << 10 | (op < 7 ? (uint16_t[]){ 0, 2, 3 }[rnd() % 3] : 3) << 8, sw = 0;
      char memory[16] = { 0 };
      int store = 0;
#define CASE(n, text) case n: asm volatile(BEGIN text "\n fnstsw %4\n fstpt %0" : "=m"(out) : "m"(a), "m"(b), "m"(cw), "m"(sw) : "memory"); break;
#define STORE(n, text, size) case n: asm volatile(BEGIN text "\n fnstsw %4" : "=m"(memory) : "m"(a), "m"(b), "m"(cw), "m"(sw) : "memory"); store = size; break;
      switch (op) {
        CASE(0, "fadd %%st(1),%%st") CASE(1, "fmul %%st(1),%%st") CASE(2, "fsub %%st(1),%%st") CASE(3, "fsubr %%st(1),%%st") CASE(4, "fdiv %%st(1),%%st") CASE(5, "fdivr %%st(1),%%st")
        CASE(6, "fsqrt") CASE(7, "frndint") CASE(8, "fscale") CASE(9, "fprem") CASE(10, "fprem1") CASE(11, "fxtract") CASE(12, "fcom") CASE(13, "fucom") CASE(14, "fxam") CASE(15, "ftst")
        STORE(16, "fsts %0", 4) STORE(17, "fstl %0", 8) STORE(18, "fistps %0", 2) STORE(19, "fistpl %0", 4) STORE(20, "fistpll %0", 8) STORE(21, "fbstp %0", 10)
        CASE(22, "fabs") CASE(23, "fchs")
      }
      printf("%s %04x", names[op], cw);
      show(a); show(b);
      if (store) { putchar(' '); for (int k = store - 1; k >= 0; k--) printf("%02x", (unsigned char)memory[k]); }
      else show(out);
      printf(" %04x\n", sw);
    }
}
