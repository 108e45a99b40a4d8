/* test.c - main() of every host test; see test.h. */
#include "test.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

uint64_t test_seed = 1;
uint64_t test_rounds = 1;

static struct test_case *first, **last = &first;
static jmp_buf escape;
static const char *running;

void test_register(struct test_case *t)
{
    *last = t;
    last = &t->next;
}

_Noreturn void test_fail(const char *file, int line, const char *fmt, ...)
{
    va_list ap;

    printf("FAIL %s: %s:%d: ", running, file, line);
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    printf(" (--seed=%llu)\n", (unsigned long long)test_seed);
    fflush(stdout);
    longjmp(escape, 1);
}

/* On its own, so that no variable of main() lives across the longjmp(). */
static bool passes(const struct test_case *t)
{
    running = t->name;
    if (setjmp(escape) != 0) {
        return false;
    }
    t->fn();
    printf("PASS %s\n", running);
    return true;
}

int main(int argc, char **argv)
{
    unsigned passed = 0, failed = 0;
    const char *only = NULL;

    for (int i = 1; i < argc; i++) {
        if (strncmp(argv[i], "--seed=", 7) == 0) {
            test_seed = strtoull(argv[i] + 7, NULL, 0);
        } else if (strncmp(argv[i], "--rounds=", 9) == 0) {
            test_rounds = strtoull(argv[i] + 9, NULL, 0);
        } else {
            only = argv[i];
        }
    }
    for (struct test_case *t = first; t != NULL; t = t->next) {
        if (only != NULL && strcmp(only, t->name) != 0) {
            continue;
        }
        if (passes(t)) {
            passed++;
        } else {
            failed++;
        }
        fflush(stdout);
    }
    if (passed + failed == 0) {
        printf("no test is named %s\n", only != NULL ? only : "at all");
        return 2;
    }
    printf("%u passed, %u failed\n", passed, failed);
    return failed != 0;
}
