/* string.c - the four functions gcc may call by itself, and three for
 * strings. Word at a time where it matters: a REP is slow under emulation. */
#include "guest.h"

void *memcpy(void *d, const void *s, size_t n)
{
    uint8_t *to = d;
    const uint8_t *from = s;

    for (; n >= 8; n -= 8, to += 8, from += 8) {
        uint64_t w;

        __builtin_memcpy(&w, from, 8);
        __builtin_memcpy(to, &w, 8);
        asm volatile("" : : : "memory");    /* stay a loop, not a memcpy */
    }
    for (; n > 0; n--) {
        *(volatile uint8_t *)to++ = *from++;
    }
    return d;
}

void *memmove(void *d, const void *s, size_t n)
{
    volatile uint8_t *to = d;
    const uint8_t *from = s;

    if ((uintptr_t)d <= (uintptr_t)s) {
        for (size_t i = 0; i < n; i++) {
            to[i] = from[i];
        }
    } else {
        while (n > 0) {
            n--;
            to[n] = from[n];
        }
    }
    return d;
}

void *memset(void *d, int c, size_t n)
{
    uint8_t *to = d;
    uint64_t w = (uint8_t)c * UINT64_C(0x0101010101010101);

    for (; n >= 8; n -= 8, to += 8) {
        __builtin_memcpy(to, &w, 8);
        asm volatile("" : : : "memory");
    }
    for (; n > 0; n--) {
        *(volatile uint8_t *)to++ = (uint8_t)c;
    }
    return d;
}

int memcmp(const void *a, const void *b, size_t n)
{
    const volatile uint8_t *x = a, *y = b;

    for (size_t i = 0; i < n; i++) {
        uint8_t p = x[i], q = y[i];

        if (p != q) {
            return p < q ? -1 : 1;
        }
    }
    return 0;
}

size_t strlen(const char *s)
{
    size_t n = 0;

    while (((const volatile char *)s)[n] != '\0') {
        n++;
    }
    return n;
}

int strncmp(const char *a, const char *b, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (a[i] != b[i] || a[i] == '\0') {
            return (uint8_t)a[i] - (uint8_t)b[i];
        }
    }
    return 0;
}

int strcmp(const char *a, const char *b)
{
    return strncmp(a, b, SIZE_MAX);
}
