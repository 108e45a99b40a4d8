/*
 * fetch.c - reading the instruction that exited, for there is no NRIP save
 * and there are no decode assists.
 */
#include <quire/arch.h>
#include <quire/domain.h>
#include <quire/emul.h>
#include <quire/guest_walk.h>

#include "svm.h"

static int read_entry(void *ctx, gpa_t gpa, void *buf, unsigned len)
{
    return guest_read_gpa(ctx, gpa, buf, len);
}

int svm_read_gva(struct vcpu *v, gva_t a, void *buf, unsigned n,
                 unsigned access)
{
    struct guest_paging pg;
    struct guest_walk w;

    arch_vcpu_paging(v, &pg);
    while (n != 0) {
        unsigned part = (unsigned)MIN(n, PAGE_SIZE - (a & PAGE_MASK));
        int err = guest_walk(&pg, a, access, read_entry, v->p2m, &w);
        if (err == 0) {
            err = guest_read_gpa(v->p2m, w.gpa, buf, part);
        }
        if (err != 0) {
            return err;
        }
        buf = (char *)buf + part;
        a += part;
        n -= part;
    }
    return 0;
}

int svm_decode(struct vcpu *v, struct insn *i)
{
    const struct vmcb *c = svm_of(v)->vmcb;
    unsigned mode = insn_mode(c->cs.attr, c->efer);
    gva_t at = mode == 64 ? v->regs.rip
                          : (uint32_t)(c->cs.base + v->regs.rip);
    uint8_t bytes[INSN_MAX];
    /* The rest of the page first: what follows need not be mapped. */
    unsigned n = (unsigned)MIN(INSN_MAX, PAGE_SIZE - (at & PAGE_MASK));
    int err = svm_read_gva(v, at, bytes, n, P2M_X);

    if (err != 0) {
        return err;
    }
    err = insn_decode(i, bytes, n, mode);
    if (err == -EAGAIN) {
        err = svm_read_gva(v, at + n, bytes + n, INSN_MAX - n, P2M_X);
        if (err == 0) {
            err = insn_decode(i, bytes, INSN_MAX, mode);
        }
    }
    return err < 0 ? err : 0;
}
