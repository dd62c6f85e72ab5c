/* What translators are bad at, in 64-bit mode. Each kernel is u32 k_<name>(u32 n) -> checksum; n counts what its name says.
 * Code is written into `pool` as a just-in-time compiler writes it. */
#include "bench.h"

static u64 other[512] __attribute__((aligned(4096)));
static u8 pool[24 << 20] __attribute__((aligned(4096)));
static volatile u32 data[64 * 1024];

static void load_cr3(void *root) { __asm__ volatile("mov %0,%%cr3" : : "r"(root) : "memory"); }

/* Address-space switches: two roots with the same mappings, sixteen pages touched in each. */
u32 k_spaces(u32 n)
{
    u32 s = 0;
    u64 *root;
    __asm__ volatile("mov %%cr3,%0" : "=r"(root));
    other[0] = root[0];
    for (u32 i = 0; i < n; i++) {
        load_cr3(i & 1 ? root : other);
        for (u32 j = 0; j < 16; j++)
            s += data[j * 1024] += i + j;
    }
    load_cr3(root);
    return s;
}

/* A loop that patches the operand of an instruction in it: mov eax,imm32; ret. */
u32 k_patch(u32 n)
{
    u32 s = 0;
    pool[0] = 0xb8; pool[5] = 0xc3;
    for (u32 i = 0; i < n; i++) {
        *(volatile u32 *)(pool + 1) = i * 3;
        s += ((u32 (*)(void))pool)();
    }
    return s;
}

/* Data beside code: a counter in the page of the function that counts it: add [rip+0xfa],edi; mov eax,[rip+0xf4]; ret. */
u32 k_beside(u32 n)
{
    static const u8 code[] = { 0x01, 0x3d, 0xfa, 0, 0, 0, 0x8b, 0x05, 0xf4, 0, 0, 0, 0xc3 };
    u32 s = 0;
    for (usize i = 0; i < sizeof code; i++) pool[i] = code[i];
    *(volatile u32 *)(pool + 0x100) = 0;
    for (u32 i = 0; i < n; i++)
        s ^= ((u32 (*)(u32))pool)(i);
    return s;
}

/* n functions of ten instructions, all different, 64 bytes apart. */
static void functions(u32 n)
{
    for (u32 i = 0; i < n; i++) {
        u8 *p = pool + 64 * i;
        *p++ = 0x89; *p++ = 0xf8;                                   /* mov eax,edi */
        for (u32 j = 0; j < 4; j++) {
            *p++ = 0x05; *(u32 *)p = i * 4 + j; p += 4;             /* add eax,imm32 */
            *p++ = 0x35; *(u32 *)p = i ^ j << 16; p += 4;           /* xor eax,imm32 */
        }
        *p = 0xc3;
    }
}
static u32 call_all(u32 n, u32 s)
{
    for (u32 i = 0; i < n; i++) s = ((u32 (*)(u32))(pool + 64 * i))(s);
    return s;
}
/* Functions called once, as in a boot. */
u32 k_once(u32 n) { functions(n); return call_all(n, 1); }
/* More code than a translator keeps, over and over: n rounds of 300,000 functions. */
u32 k_overflow(u32 n)
{
    u32 s = 1;
    functions(300000);
    while (n--) s = call_all(300000, s);
    return s;
}

/* One guest of many: n calls of each of sixteen functions of its own, a loop of eleven instructions sixteen times around in each, made
 * from the number of the guest, which whoever starts it writes into its image. */
__attribute__((aligned(8))) static const volatile u32 number[] = { 0x4d5e6f70, 0x6e756d62 };
u32 k_own(u32 n)
{
    u32 h = number[0], s = 1;
    u8 *f[16], *p = pool;
    for (u32 i = 0; i < 16; i++) {
        f[i] = p = pool + 128 * i;
        *p++ = 0x89; *p++ = 0xf8;                                   /* mov eax,edi */
        *p++ = 0xb9; *(u32 *)p = 16; p += 4;                        /* mov ecx,16 */
        u8 *again = p;
        for (u32 j = 0; j < 6; j++) {
            h = h * 1664525 + 1013904223;
            switch (h >> 30) {
            case 0: *p++ = 0x05; break;                             /* add eax,imm32 */
            case 1: *p++ = 0x35; break;                             /* xor eax,imm32 */
            case 2: *p++ = 0x2d; break;                             /* sub eax,imm32 */
            default: *p++ = 0x69; *p++ = 0xc0;                      /* imul eax,eax,imm32 */
            }
            *(u32 *)p = h | 1; p += 4;
        }
        *p++ = 0x89; *p++ = 0x06;                                   /* mov [rsi],eax */
        *p++ = 0x03; *p++ = 0x46; *p++ = 0x04;                      /* add eax,[rsi+4] */
        *p++ = 0x89; *p++ = 0x46; *p++ = 0x04;                      /* mov [rsi+4],eax */
        *p++ = 0xff; *p++ = 0xc9;                                   /* dec ecx */
        *p++ = 0x75; *p = (u8)(again - p - 1); p++;                 /* jnz again */
        *p = 0xc3;
    }
    while (n--)
        for (u32 i = 0; i < 16; i++)
            s = ((u32 (*)(u32, volatile u32 *))f[i])(s, data);
    return s;
}

/* The x87: 64-bit precision, its own stack. Sums with long double, a division and a rounding to an integer among them. */
static u32 folded(long double v)
{
    union { long double v; u32 w[3]; } u;
    u.v = v;
    return u.w[0] ^ u.w[1] * 31 ^ (u.w[2] & 0xffff);
}
u32 k_longdouble(u32 n)
{
    static double v[1024], w[1024];
    long double s = 0, x = 1.5L;
    u32 whole = 0;
    __asm__ volatile("fninit");
    for (u32 i = 0; i < 1024; i++) v[i] = 1.0 / (i + 3), w[i] = i % 17 * 0.37 + 0.1;
    for (u32 i = 0; i < n; i++) {
        s += (long double)v[i & 1023] * w[i & 1023];
        if (i & 7) continue;
        x = x / 1.000137L + 0.25L;
        whole += (int)x;
    }
    return folded(s) ^ folded(x) ^ whole;
}
/* A sine, an arctangent, a power and a logarithm for each of n angles. Processors differ in the last bit of these, so few bits count. */
u32 k_angles(u32 n)
{
    u32 s = 0;
    __asm__ volatile("fninit");
    for (u32 i = 0; i < n; i++) {
        long double x = (i % 1000 + 1) * 0.00057L, sine, angle, power, logarithm;
        __asm__ volatile("fsin" : "=t"(sine) : "0"(x));
        __asm__ volatile("fpatan" : "=t"(angle) : "0"(1.0L), "u"(x) : "st(1)");
        __asm__ volatile("f2xm1" : "=t"(power) : "0"(x));
        __asm__ volatile("fyl2x" : "=t"(logarithm) : "0"(x), "u"(1.0L) : "st(1)");
        s += (u32)(int)((sine + angle + power + logarithm) * 65536);
    }
    return s;
}
