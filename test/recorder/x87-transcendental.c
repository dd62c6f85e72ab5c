/*
 * Asks this processor's x87 for its transcendental functions and prints what it answered: the oracle of test/cpu/x87-transcendental.test.ts.
 *
 *   gcc -O1 -o x87-transcendental x87-transcendental.c && ./x87-transcendental 1400 > ../golden/x87-transcendental.txt
 *
 * A line: function, control word, ST(0), ST(1), the result, the status word. The four rounding directions take turns.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t seed = 88172645463325252ull;
static uint64_t next(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}
/* A number with an exponent in the given range; now and then one with few significant bits. */
static long double number(int low, int high, int negative)
{
    unsigned char bytes[16] = { 0 };
    uint64_t mantissa = next();
    if ((next() & 7) == 0) mantissa &= ~0ull << (next() % 63);
    mantissa |= 1ull << 63;
    uint16_t head = 16383 + low + (int)(next() % (unsigned)(high - low + 1));
    if (negative && (next() & 1)) head |= 0x8000;
    memcpy(bytes, &mantissa, 8);
    memcpy(bytes + 8, &head, 2);
    long double value;
    memcpy(&value, bytes, 10);
    return value;
}
static void print(long double value)
{
    unsigned char bytes[16];
    uint64_t mantissa;
    uint16_t head;
    memcpy(bytes, &value, 10);
    memcpy(&mantissa, bytes, 8);
    memcpy(&head, bytes + 8, 2);
    printf("%04x%016lx", head, mantissa);
}

#define ONE(name, tail) __asm__ volatile(name "; fnstsw %1; " tail : "=t"(r), "=m"(status) : "0"(a))
#define TWO(name) __asm__ volatile(name "; fnstsw %1" : "=t"(r), "=m"(status) : "0"(a), "u"(b) : "st(1)")

int main(int argc, char **argv)
{
    static const char *names[] = { "fsin", "fcos", "fptan", "fpatan", "f2xm1", "fyl2x", "fyl2xp1" };
    int count = argc > 1 ? atoi(argv[1]) : 1400;
    for (int i = 0; i < count; i++) {
        int which = i % 7;
        uint16_t control = 0x37f | ((i / 7) % 4) << 10, status;
        long double a = which == 4 ? number(-30, -1, 1) : which == 5 ? number(-30, 30, 0) : which == 6 ? number(-30, -2, 1) * 0.58L : which == 3 ? number(-20, 20, 1) : number(-40, 20, 1);
        long double b = which == 3 || which > 4 ? number(-20, 20, 1) : 0, r;
        __asm__ volatile("fninit; fldcw %0" : : "m"(control));
        if (which == 0) ONE("fsin", "");
        else if (which == 1) ONE("fcos", "");
        else if (which == 2) ONE("fptan", "fstp %%st(0)");
        else if (which == 3) TWO("fpatan");
        else if (which == 4) ONE("f2xm1", "");
        else if (which == 5) TWO("fyl2x");
        else TWO("fyl2xp1");
        __asm__ volatile("fninit");
        printf("%s %04x ", names[which], control);
        print(a); putchar(' ');
        print(b); putchar(' ');
        print(r);
        printf(" %04x\n", status & 0x3f);
    }
}
