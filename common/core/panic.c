/*
 * panic.c - the end of the machine: say why, and stop with a failing status.
 *
 * Takes no lock. The first CPU to panic does the talking; a panic inside a
 * panic goes straight to arch_die(), any other CPU waits for the end.
 */
#include <quire/arch.h>
#include <quire/log.h>
#include <quire/panic.h>
#include <quire/print.h>

#define NOBODY UINT32_MAX

static _Atomic uint32_t panicking = NOBODY;

void panic(const char *fmt, ...)
{
    static char line[512];
    uint32_t expected = NOBODY, self = arch_cpu();
    size_t len;
    va_list ap;

    if (!atomic_compare_exchange_strong(&panicking, &expected, self)) {
        if (expected == self) {
            arch_die(DIE_PANIC);
        }
        for (;;) {
            arch_relax();
        }
    }
    len = print_to(line, sizeof(line), "\n*** panic on CPU %u: ", self);
    va_start(ap, fmt);
    len += vprint_to(line + len, sizeof(line) - len, fmt, ap);
    va_end(ap);
    log_raw(line, MIN(len, sizeof(line) - 1));
    log_raw("\n", 1);
    arch_backtrace();
    arch_die(DIE_PANIC);
}
