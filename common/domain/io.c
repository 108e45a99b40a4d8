/*
 * io.c - ports: there is nothing behind them. Reads give all-ones and writes
 * are dropped, but for the debug console at 0xe9, which a guest may find by
 * reading it (it gives 0xe9) and whose bytes are console output.
 */
#include <quire/arch.h>
#include <quire/domain.h>

#include "policy.h"

#define PORT_DEBUG_CONSOLE 0xe9

uint32_t port_in(struct domain *d, uint16_t port, unsigned size)
{
    (void)d;
    if (port == PORT_DEBUG_CONSOLE && size == 1) {
        return PORT_DEBUG_CONSOLE;
    }
    return UINT32_MAX >> (32 - 8 * size);
}

void port_out(struct domain *d, uint16_t port, uint32_t value, unsigned size)
{
    char c = (char)value;

    if (port == PORT_DEBUG_CONSOLE && size == 1) {
        (void)console_write(d, &c, 1);
    }
}

void exit_io(struct vcpu *v, struct vcpu_exit *e)
{
    uint64_t keep;

    if (e->io.size != 1 && e->io.size != 2 && e->io.size != 4) {
        arch_vcpu_inject_exception(v, VECTOR_GP, 0);
        return;
    }
    if (e->io.is_string) {
        emulate(v);
        return;
    }
    if (!e->io.is_in) {
        port_out(v->domain, e->io.port, (uint32_t)v->regs.rax, e->io.size);
    } else {
        /* A 32-bit result clears the upper half, smaller ones keep the rest. */
        keep = e->io.size == 4 ? 0
                               : v->regs.rax & (UINT64_MAX << 8 * e->io.size);
        v->regs.rax = keep | port_in(v->domain, e->io.port, e->io.size);
    }
    arch_vcpu_skip(v, e);
}
