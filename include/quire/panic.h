/*
 * panic.h - the three strengths of check.
 *
 *   ASSERT   our own logic; debug builds only.
 *   BUG_ON   corruption; always.
 *   panic    stop the machine: message, registers and backtrace on the
 *            console (no lock taken), then exit with a failing status.
 *
 * What a guest or a user supplies never gets here: it gets an error.
 */
#pragma once

_Noreturn void panic(const char *fmt, ...)
    __attribute__((format(printf, 1, 2), cold));

#define BUG_ON(cond) \
    do { \
        if (__builtin_expect(!!(cond), 0)) { \
            panic("BUG: %s at %s:%d", #cond, __FILE__, __LINE__); \
        } \
    } while (0)

#ifdef QUIRE_DEBUG
#define ASSERT(cond) \
    do { \
        if (__builtin_expect(!(cond), 0)) { \
            panic("ASSERT: %s at %s:%d", #cond, __FILE__, __LINE__); \
        } \
    } while (0)
#else
#define ASSERT(cond) ((void)sizeof(!(cond)))
#endif
