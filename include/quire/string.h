/*
 * string.h - the memory and string functions that gcc expects of a
 * freestanding program, plus page copies.
 *
 * common/ includes <quire/string.h>; on the host the same names are libc's.
 */
#pragma once

#include <quire/types.h>

void *memcpy(void *restrict d, const void *restrict s, size_t n);
void *memmove(void *d, const void *s, size_t n);
void *memset(void *d, int c, size_t n);
int memcmp(const void *a, const void *b, size_t n);
size_t strlen(const char *s);
int strcmp(const char *a, const char *b);
int strncmp(const char *a, const char *b, size_t n);

/** page_copy(), page_zero() - one whole page in unrolled 64-bit moves. */
void page_copy(void *restrict d, const void *restrict s);
void page_zero(void *d);
/** page_fill() - every 64-bit word of a page set to @word (poison). */
void page_fill(void *d, uint64_t word);
/** page_hash() - a 64-bit hash of one page's contents, same on every build. */
uint64_t page_hash(const void *p);
