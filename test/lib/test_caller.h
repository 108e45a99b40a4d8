/*
 * test_caller.h - a privileged domain whose vCPU makes hypercalls one at a
 * time, as test code dictates them, and the domains that it works on.
 */
#pragma once

#include "../../common/domain/build.h"
#include "domains.h"
#include "test.h"

#include <public/xen/memory.h>
#include <public/xen/sharing.h>
#include <quire/arch.h>
#include <quire/errno.h>
#include <quire/heap.h>
#include <quire/owner.h>
#include <quire/page_alloc.h>
#include <string.h>

#define ARG 0x10000                 /* where arguments are put: gpa = gva */
#define UNMAPPED (UINT64_C(1) << 40)
#define RESTARTED INT64_C(-1000)    /* the guest is still on its VMMCALL */
#define TARGET_PAGES 64

static struct domain *caller;
static struct vcpu *caller_vcpu;
static bool is_compat;

static inline void poke(gpa_t at, const void *buf, size_t len)
{
    size_t done;

    CHECK_EQ(guest_write_gpa(caller->p2m, at, buf, len, &done), 0);
}

static inline void peek(gpa_t at, void *buf, size_t len)
{
    CHECK_EQ(guest_read_gpa(caller->p2m, at, buf, len), 0);
}

/* Identity tables of one 1G page for 64-bit callers; 32-bit ones have none. */
static inline void set_mode(struct vcpu *t, bool compat)
{
    static const uint64_t pml4 = 0x3007, pdpt = 0x87;
    struct vcpu_state s;

    pvh_entry_state(&s, 0, 0);
    if (!compat) {
        poke(0x2000, &pml4, 8);
        poke(0x3000, &pdpt, 8);
        s.cr0 = 0x80000011;
        s.cr3 = 0x2000;
        s.cr4 = 0x20;
        s.efer = 0x500;
    }
    CHECK_EQ(arch_vcpu_set_state(t, &s), 0);
    t->initialised = true;
    vcpu_set_online(t, true);
    is_compat = compat;
}

static inline struct domain *make_target(const char *name)
{
    struct domain_config c = test_config(name, TARGET_PAGES);

    return test_create(&c);
}

static inline void make_caller(bool is_privileged, bool compat)
{
    struct domain_config c = test_config("caller", 128);

    c.privileged = is_privileged;
    c.nr_vcpus = 2;
    caller = test_create(&c);
    caller_vcpu = caller->vcpus[0];
    set_mode(caller_vcpu, compat);
}

static inline int64_t call2(uint64_t nr, uint64_t a, uint64_t b)
{
    struct vcpu_exit e = { .reason = EXIT_HYPERCALL, .insn_len = 3 };
    struct vcpu *v = caller_vcpu;
    uint64_t rip = v->regs.rip;

    v->regs.rax = nr;
    if (is_compat) {
        v->regs.rbx = a;
        v->regs.rcx = b;
    } else {
        v->regs.rdi = a;
        v->regs.rsi = b;
    }
    vcpu_handle_exit(v, &e);
    if (v->regs.rip == rip) {
        return RESTARTED;
    }
    return is_compat ? (int32_t)v->regs.rax : (int64_t)v->regs.rax;
}

/* One slice of @op, whose outputs come back in it. */
static inline int64_t op_slice(struct xen_mem_sharing_op *op)
{
    poke(ARG, op, sizeof(*op));
    int64_t r = call2(__HYPERVISOR_memory_op, XENMEM_sharing_op, ARG);
    peek(ARG, op, sizeof(*op));
    return r;
}

/* All of it. */
static inline int64_t op_all(struct xen_mem_sharing_op *op)
{
    int64_t r;

    do {
        r = op_slice(op);
    } while (r == RESTARTED);
    return r;
}

static inline struct xen_mem_sharing_op op_on(unsigned nr,
                                              const struct domain *d)
{
    struct xen_mem_sharing_op op;

    memset(&op, 0, sizeof(op));
    op.op = (uint8_t)nr;
    op.domain = d->id;
    return op;
}

static inline int64_t op_nominate(const struct domain *d, uint64_t gfn,
                                  uint64_t *handle)
{
    struct xen_mem_sharing_op op =
        op_on(XENMEM_sharing_op_nominate_gfn, d);
    int64_t r;

    op.u.nominate.u.gfn = gfn;
    r = op_all(&op);
    *handle = op.u.nominate.handle;
    return r;
}

static inline struct xen_mem_sharing_op
pair_op(unsigned nr, const struct domain *sd, uint64_t sgfn, uint64_t sh,
        const struct domain *cd, uint64_t cgfn, uint64_t ch)
{
    struct xen_mem_sharing_op op = op_on(nr, sd);

    op.u.share.source_gfn = sgfn;
    op.u.share.source_handle = sh;
    op.u.share.client_gfn = cgfn;
    op.u.share.client_handle = ch;
    op.u.share.client_domain = cd->id;
    return op;
}

static inline int64_t op_share(const struct domain *sd, uint64_t sgfn,
                               uint64_t sh, const struct domain *cd,
                               uint64_t cgfn, uint64_t ch)
{
    struct xen_mem_sharing_op op = pair_op(XENMEM_sharing_op_share, sd, sgfn,
                                           sh, cd, cgfn, ch);
    return op_all(&op);
}

static inline int64_t op_add(const struct domain *sd, uint64_t sgfn,
                             uint64_t sh, const struct domain *cd,
                             uint64_t cgfn)
{
    struct xen_mem_sharing_op op = pair_op(XENMEM_sharing_op_add_physmap, sd,
                                           sgfn, sh, cd, cgfn, 0);
    return op_all(&op);
}

static inline struct xen_mem_sharing_op range_op(const struct domain *d,
                                                 const struct domain *cd,
                                                 uint64_t first,
                                                 uint64_t last)
{
    struct xen_mem_sharing_op op = op_on(XENMEM_sharing_op_range_share, d);

    op.u.range.first_gfn = first;
    op.u.range.last_gfn = last;
    op.u.range.client_domain = cd->id;
    return op;
}

/* The operations on one gfn: debug_gfn, quire_unshare. */
static inline int64_t op_gfn(unsigned nr, const struct domain *d,
                             uint64_t gfn)
{
    struct xen_mem_sharing_op op = op_on(nr, d);

    op.u.debug.u.gfn = gfn;
    return op_all(&op);
}

static inline int64_t op_debug_gfn(const struct domain *d, uint64_t gfn)
{
    return op_gfn(XENMEM_sharing_op_debug_gfn, d, gfn);
}

static inline int64_t op_unshare(const struct domain *d, uint64_t gfn)
{
    return op_gfn(XENMEM_sharing_op_quire_unshare, d, gfn);
}

/* One slice of forking @parent; the child's id in @op.domain at the end. */
static inline struct xen_mem_sharing_op fork_op(const struct domain *parent,
                                                unsigned flags)
{
    struct xen_mem_sharing_op op = op_on(XENMEM_sharing_op_fork, parent);

    op.domain = DOMID_INVALID;
    op.u.fork.parent_domain = parent->id;
    op.u.fork.flags = (uint16_t)flags;
    return op;
}

static inline struct xen_mem_sharing_op reset_op(const struct domain *child,
                                                 unsigned what)
{
    struct xen_mem_sharing_op op = op_on(XENMEM_sharing_op_fork_reset, child);

    op.u.fork.flags = (uint16_t)what;
    return op;
}

static inline void write_word(const struct domain *d, uint64_t gfn,
                              uint64_t value)
{
    size_t done;

    CHECK_EQ(guest_write_gpa(d->p2m, gfn << PAGE_SHIFT, &value, 8, &done), 0);
}

static inline uint64_t read_word(const struct domain *d, uint64_t gfn)
{
    uint64_t value = 0;

    CHECK_EQ(guest_read_gpa(d->p2m, gfn << PAGE_SHIFT, &value, 8), 0);
    return value;
}

static inline unsigned audit_share(void)
{
    struct share_audit a = { 0 };

    CHECK_EQ(share_audit(&a, NULL), 0);
    return a.bad;
}

/* Everything, between two calls. */
static inline void audit_all(void)
{
    CHECK_EQ(audit_share(), 0);
    CHECK_EQ(domain_audit(), 0);
    CHECK_EQ(mem_audit(), 0);
    CHECK_EQ(heap_audit(), 0);
}

/* Map @nr of @t's gfns from @tgfn at the caller's from @gfn; each one's error
 * in @errs. */
#define BATCH_MAX 64
static inline int64_t foreign_from(const struct domain *t, uint64_t tgfn,
                                   uint64_t gfn, unsigned nr, uint64_t start,
                                   int32_t *errs)
{
    struct xen_add_to_physmap_batch b = {
        .domid = DOMID_SELF, .space = XENMAPSPACE_gmfn_foreign,
        .size = (uint16_t)nr, .foreign_domid = t->id, .idxs = ARG + 0x1000,
        .gpfns = ARG + 0x2000, .errs = ARG + 0x3000 };
    struct { uint16_t domid, space, size, foreign; uint32_t a, g, e; } c =
        { b.domid, b.space, b.size, b.foreign_domid, ARG + 0x1000,
          ARG + 0x2000, ARG + 0x3000 };
    uint64_t cmd = XENMEM_add_to_physmap_batch | start << XENMEM_CMD_BITS;
    int64_t r;

    for (uint64_t i = 0; i < nr; i++) {
        uint64_t idx = tgfn + i, gpfn = gfn + i, n = is_compat ? 4 : 8;

        poke(b.idxs + i * n, &idx, n);
        poke(b.gpfns + i * n, &gpfn, n);
    }
    if (is_compat) {
        poke(ARG, &c, sizeof(c));
    } else {
        poke(ARG, &b, sizeof(b));
    }
    do {
        r = call2(__HYPERVISOR_memory_op, cmd, ARG);
        cmd = is_compat ? caller_vcpu->regs.rbx : caller_vcpu->regs.rdi;
    } while (r == RESTARTED);
    peek(b.errs, errs, nr * sizeof(*errs));
    return r;
}

/* One of them; its own error. */
static inline int64_t op_foreign(const struct domain *t, uint64_t tgfn,
                                 uint64_t gfn)
{
    int32_t own = 77;
    int64_t r = foreign_from(t, tgfn, gfn, 1, 0, &own);

    return r != 0 ? r : own;
}

static inline int64_t op_remove(domid_t id, uint64_t gfn)
{
    struct xen_remove_from_physmap r = { .domid = id, .gpfn = gfn };
    struct { uint16_t domid, pad; uint32_t gpfn; } c = { id, 0,
                                                        (uint32_t)gfn };

    if (is_compat) {
        poke(ARG, &c, sizeof(c));
    } else {
        poke(ARG, &r, sizeof(r));
    }
    return call2(__HYPERVISOR_memory_op, XENMEM_remove_from_physmap, ARG);
}
