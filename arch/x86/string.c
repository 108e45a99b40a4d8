/*
 * string.c - the memory and string functions that gcc expects of a
 * freestanding program. On the host they are libc's.
 *
 * Whole words where both ends allow it: x86 does not mind unaligned ones.
 */
#include <quire/string.h>

/* An unaligned 64-bit word, which may alias anything. */
typedef uint64_t __attribute__((may_alias, aligned(1))) word_t;

/* Keeps gcc from turning a loop into a call of the function it is in. */
#define NOT_ITSELF \
    __attribute__((optimize("no-tree-loop-distribute-patterns")))

NOT_ITSELF void *memcpy(void *restrict d, const void *restrict s, size_t n)
{
    unsigned char *to = d;
    const unsigned char *from = s;

    for (; n >= 32; n -= 32, to += 32, from += 32) {
        uint64_t a = *(const word_t *)from;
        uint64_t b = *(const word_t *)(from + 8);
        uint64_t c = *(const word_t *)(from + 16);
        uint64_t e = *(const word_t *)(from + 24);

        *(word_t *)to = a;
        *(word_t *)(to + 8) = b;
        *(word_t *)(to + 16) = c;
        *(word_t *)(to + 24) = e;
    }
    for (; n >= 8; n -= 8, to += 8, from += 8) {
        *(word_t *)to = *(const word_t *)from;
    }
    while (n-- != 0) {
        *to++ = *from++;
    }
    return d;
}

NOT_ITSELF void *memmove(void *d, const void *s, size_t n)
{
    unsigned char *to = d;
    const unsigned char *from = s;

    if ((uintptr_t)to - (uintptr_t)from >= n) {
        /* Ascending never overwrites what is still to be read. */
        for (; n >= 8; n -= 8, to += 8, from += 8) {
            *(word_t *)to = *(const word_t *)from;
        }
        while (n-- != 0) {
            *to++ = *from++;
        }
        return d;
    }
    for (; n >= 8; n -= 8) {
        *(word_t *)(to + n - 8) = *(const word_t *)(from + n - 8);
    }
    while (n-- != 0) {
        to[n] = from[n];
    }
    return d;
}

NOT_ITSELF void *memset(void *d, int c, size_t n)
{
    unsigned char *to = d;
    uint64_t word = (unsigned char)c * UINT64_C(0x0101010101010101);

    for (; n >= 32; n -= 32, to += 32) {
        *(word_t *)to = word;
        *(word_t *)(to + 8) = word;
        *(word_t *)(to + 16) = word;
        *(word_t *)(to + 24) = word;
    }
    for (; n >= 8; n -= 8, to += 8) {
        *(word_t *)to = word;
    }
    while (n-- != 0) {
        *to++ = (unsigned char)c;
    }
    return d;
}

NOT_ITSELF int memcmp(const void *a, const void *b, size_t n)
{
    const unsigned char *x = a, *y = b;

    /* Pages that are alike: four words at a time. */
    for (; n >= 32; n -= 32, x += 32, y += 32) {
        const word_t *v = (const word_t *)x, *w = (const word_t *)y;

        if (((v[0] ^ w[0]) | (v[1] ^ w[1]) | (v[2] ^ w[2]) |
             (v[3] ^ w[3])) != 0) {
            break;
        }
    }
    for (; n >= 8 && *(const word_t *)x == *(const word_t *)y;
         n -= 8, x += 8, y += 8) {
    }
    for (; n != 0; n--, x++, y++) {
        if (*x != *y) {
            return *x - *y;
        }
    }
    return 0;
}

NOT_ITSELF size_t strlen(const char *s)
{
    size_t n = 0;

    while (s[n] != '\0') {
        n++;
    }
    return n;
}

int strcmp(const char *a, const char *b)
{
    return strncmp(a, b, SIZE_MAX);
}

NOT_ITSELF int strncmp(const char *a, const char *b, size_t n)
{
    for (; n != 0; n--, a++, b++) {
        unsigned char x = (unsigned char)*a, y = (unsigned char)*b;

        if (x != y || x == '\0') {
            return x - y;
        }
    }
    return 0;
}
