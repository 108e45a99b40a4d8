/*
 * test.h - host tests. Each file of test/unit and test/model is one program:
 *
 *     TEST(name) { CHECK(cond); CHECK_EQ(a, b); }
 *
 * main() is in test.c: runs every TEST, each in the order written, prints
 * "PASS name" or "FAIL name: file:line: what", and last "N passed, N failed".
 * `PROGRAM NAME` runs one; --seed=N sets test_seed (printed on failure);
 * --rounds=N scales the randomised ones. A failed CHECK ends its test.
 */
#pragma once

#include <quire/types.h>
#include <stdio.h>
#include <stdlib.h>

struct test_case { const char *name; void (*fn)(void); struct test_case *next; };
void test_register(struct test_case *t);
_Noreturn void test_fail(const char *file, int line, const char *fmt, ...)
    printf_like(3, 4);
extern uint64_t test_seed;
extern uint64_t test_rounds;

#define TEST(n) \
    static void test_##n(void); \
    __attribute__((constructor)) static void register_##n(void) \
    { \
        static struct test_case t = { #n, test_##n, NULL }; \
        test_register(&t); \
    } \
    static void test_##n(void)

#define CHECK(cond) \
    do { \
        if (!(cond)) { test_fail(__FILE__, __LINE__, "%s", #cond); } \
    } while (0)
#define CHECK_EQ(a, b) \
    do { \
        long long a_ = (long long)(a), b_ = (long long)(b); \
        if (a_ != b_) { \
            test_fail(__FILE__, __LINE__, "%s is %lld (0x%llx), not %s, " \
                      "%lld", #a, a_, (unsigned long long)a_, #b, b_); \
        } \
    } while (0)
