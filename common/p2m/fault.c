/* fault.c - from a nested page fault to the handler of the entry's type. */
#include "entry.h"

#include <quire/panic.h>

static p2m_fault_fn *handlers[NR_P2M_TYPES];

void p2m_register_fault(enum p2m_type t, p2m_fault_fn *fn)
{
    BUG_ON(handlers[t] != NULL && handlers[t] != fn);
    handlers[t] = fn;
}

enum p2m_fault_result p2m_fault(struct p2m *p, const struct npf *f)
{
    gfn_t gfn = gpa_to_gfn(f->gpa);
    struct p2m_entry e = p2m_lookup(p, gfn);

    if ((f->access & ~npte_rights(e.type, e.tracking)) == 0) {
        return P2M_FAULT_RETRY;     /* another CPU was faster */
    }
    if (handlers[e.type] != NULL) {
        return handlers[e.type](p, f, &e);
    }
    return e.type == p2m_invalid || e.type == p2m_mmio_dm ? P2M_FAULT_MMIO
                                                          : P2M_FAULT_DENIED;
}
