/*
 * test_image.h - an image that the PVH loader takes.
 */
#pragma once

#include <quire/types.h>
#include <string.h>

#define CODE 10000

/* An ELF64 of one segment with a PVH note, CODE bytes at 1 MiB. */
static uint8_t image[512 + CODE];

static inline void put(unsigned at, unsigned size, uint64_t value)
{
    memcpy(image + at, &value, size);
}

static inline void make_image(void)
{
    memset(image, 0, sizeof(image));
    memcpy(image, "\177ELF\2\1\1", 7);
    put(16, 2, 2);
    put(18, 2, 62);
    put(32, 8, 64);             /* phoff */
    put(54, 2, 56);             /* phentsize */
    put(56, 2, 2);              /* phnum */
    put(64, 4, 1);              /* PT_LOAD */
    put(64 + 8, 8, 512);
    put(64 + 24, 8, 0x100000);
    put(64 + 32, 8, CODE);
    put(64 + 40, 8, CODE + 100);
    put(120, 4, 4);             /* PT_NOTE */
    put(120 + 8, 8, 256);
    put(120 + 32, 8, 20);
    put(256, 4, 4);
    put(260, 4, 4);
    put(264, 4, 18);
    memcpy(image + 268, "Xen", 4);
    put(272, 4, 0x100004);
    for (unsigned i = 0; i < CODE; i++) {
        image[512 + i] = (uint8_t)(i * 7 + 1);
    }
}
