/*
 * print.h - formatted printing into a caller's buffer.
 *
 * %d %u %x %lu %lx %llu %zu %s %c %p %%, with field width, `0`, `-` and, for
 * strings, precision. No floating point. Never overruns, always terminates.
 */
#pragma once

#include <quire/types.h>

/**
 * print_to() - format into @buf of @size bytes.
 * Returns the length the whole text has, without its NUL; a value of @size or
 * more means that it was cut.
 */
size_t print_to(char *buf, size_t size, const char *fmt, ...)
    printf_like(3, 4);
size_t vprint_to(char *buf, size_t size, const char *fmt, va_list ap);
