/*
 * hypercall.c - VMMCALL: who may, which registers, which family.
 *
 *     64-bit  RAX (RDI, RSI, RDX, R10, R8) -> RAX
 *     32-bit  EAX (EBX, ECX, EDX, ESI, EDI) -> EAX
 *
 * A caller in long mode is taken for 64-bit: code of a 32-bit segment at
 * CPL 0 of a 64-bit kernel makes no hypercalls.
 */
#include "hypercall.h"

#include <public/quire.h>
#include <quire/arch.h>
#include <quire/panic.h>

#include "policy.h"

#define EFER_LMA (UINT64_C(1) << 10)

static hypercall_fn *const table[] = {
    [__HYPERVISOR_memory_op] = hypercall_memory_op,
    [__HYPERVISOR_xen_version] = hypercall_xen_version,
    [__HYPERVISOR_console_io] = hypercall_console_io,
    [__HYPERVISOR_vcpu_op] = hypercall_vcpu_op,
    [__HYPERVISOR_sched_op] = hypercall_sched_op,
    [__HYPERVISOR_event_channel_op] = hypercall_event_channel_op,
    [__HYPERVISOR_hvm_op] = hypercall_hvm_op,
    [__HYPERVISOR_quire_op] = hypercall_quire_op,
};

static uint64_t *arg_register(struct vcpu_regs *r, unsigned i, bool is_compat)
{
    uint64_t *const regs64[5] = { &r->rdi, &r->rsi, &r->rdx, &r->r10,
                                  &r->r8 };
    uint64_t *const regs32[5] = { &r->rbx, &r->rcx, &r->rdx, &r->rsi,
                                  &r->rdi };

    return is_compat ? regs32[i] : regs64[i];
}

void hypercall_set_arg(struct hypercall *h, unsigned i, uint64_t value)
{
    *arg_register(&h->v->regs, i, h->is_compat) = value;
}

static int64_t dispatch(struct hypercall *h, uint64_t nr)
{
    if (nr >= ARRAY_SIZE(table) || table[nr] == NULL) {
        return -ENOSYS;
    }
    return table[nr](h);
}

void exit_hypercall(struct vcpu *v, struct vcpu_exit *e)
{
    struct hypercall h = { .v = v, .d = v->domain };
    struct guest_paging pg;
    uint64_t mask, nr;
    int64_t result = -EPERM;

    arch_vcpu_paging(v, &pg);
    h.is_compat = (pg.efer & EFER_LMA) == 0;
    mask = h.is_compat ? UINT32_MAX : UINT64_MAX;
    nr = v->regs.rax & mask;
    for (unsigned i = 0; i < ARRAY_SIZE(h.arg); i++) {
        h.arg[i] = *arg_register(&v->regs, i, h.is_compat) & mask;
    }
    if (pg.cpl == 0) {
        result = dispatch(&h, nr);
    }
    ASSERT(nr_locks_held() == 0);
    if (h.is_starved) {
        oom_park(v, v->oom.gfn);
        return;
    }
    if (result == -ERESTART) {
        return;
    }
    oom_settle(v);
    v->regs.rax = (uint64_t)result & mask;
    arch_vcpu_skip(v, e);
}

#define STUBS_AT_ONCE 16        /* on the stack: 512 bytes */

/* mov $n, %eax; vmmcall; ret - in each slot but iret's, which HVM has not. */
static void fill_stub(uint8_t *stub, unsigned i)
{
    static const uint8_t code[] = { 0xb8, 0, 0, 0, 0, 0x0f, 0x01, 0xd9, 0xc3 };

    memset(stub, 0xcc, XEN_HYPERCALL_STUB_SIZE);
    memcpy(stub, code, sizeof(code));
    stub[1] = (uint8_t)i;
    if (i == __HYPERVISOR_iret) {
        stub[0] = 0x0f;         /* UD2 */
        stub[1] = 0x0b;
    }
}

int hypercall_page_write(struct domain *d, gfn_t gfn)
{
    uint8_t stubs[STUBS_AT_ONCE][XEN_HYPERCALL_STUB_SIZE];
    gpa_t to = gfn_to_gpa(gfn);
    size_t done;
    int err = 0;

    for (unsigned i = 0; i < XEN_HYPERCALL_PAGE_STUBS && err == 0;
         i += STUBS_AT_ONCE, to += sizeof(stubs)) {
        for (unsigned k = 0; k < STUBS_AT_ONCE; k++) {
            fill_stub(stubs[k], i + k);
        }
        err = guest_write_gpa(d->p2m, to, stubs, sizeof(stubs), &done);
    }
    return err;
}
