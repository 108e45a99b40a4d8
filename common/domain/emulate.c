/*
 * emulate.c - what the emulator sees of a guest: its memory through its own
 * page tables, holes that read as all-ones and swallow writes, its ports.
 */
#include <quire/arch.h>
#include <quire/domain.h>
#include <quire/emul.h>
#include <quire/guest_walk.h>
#include <quire/log.h>
#include <quire/string.h>

#include "policy.h"

/* The pages translated last, by kind of access: a string instruction comes
 * back to them. Good for one emulation, as a processor's own would be. */
struct view {
    struct vcpu *v;
    struct guest_paging pg;
    struct { bool is_valid; gva_t page; gpa_t gpa; } last[P2M_X + 1];
    bool is_starved;            /* no memory to unshare ... */
    gfn_t starved;              /* ... this */
};

static int read_entry(void *ctx, gpa_t gpa, void *buf, unsigned len)
{
    return guest_read_gpa(ctx, gpa, buf, len);
}

/* One page's worth of an access: where it is, or the guest's own fault. */
static int translate(struct view *w, gva_t a, unsigned access, gpa_t *gpa,
                     struct emul_fault *f)
{
    gva_t page = a & ~PAGE_MASK;
    struct guest_walk walk;
    int err;

    if (w->last[access].is_valid && w->last[access].page == page) {
        *gpa = w->last[access].gpa | (a & PAGE_MASK);
        return 0;
    }
    err = guest_walk(&w->pg, a, access, read_entry, w->v->p2m, &walk);
    if (err == 0) {
        w->last[access].is_valid = true;
        w->last[access].page = page;
        w->last[access].gpa = walk.gpa & ~PAGE_MASK;
    }
    if (err == -EFAULT) {
        *f = (struct emul_fault){ VECTOR_PF, walk.error, a };
    } else if (err == -ERANGE) {
        *f = (struct emul_fault){ VECTOR_GP, 0, 0 };
        err = -EFAULT;
    }
    *gpa = walk.gpa;
    return err;
}

static unsigned first_part(gva_t a, unsigned n)
{
    return (unsigned)MIN(n, PAGE_SIZE - (a & PAGE_MASK));
}

static int load(struct view *w, gva_t a, uint8_t *to, unsigned n,
                unsigned access, struct emul_fault *f)
{
    while (n > 0) {
        unsigned part = first_part(a, n);
        gpa_t gpa;
        int err = translate(w, a, access, &gpa, f);

        if (err != 0) {
            return err;
        }
        err = guest_read_gpa(w->v->p2m, gpa, to, part);
        if (err == -ENOENT && access != P2M_X) {
            memset(to, 0xff, part);
            err = 0;
        }
        if (err != 0) {
            return err == -EFAULT ? -EIO : err;
        }
        a += part;
        to += part;
        n -= part;
    }
    return 0;
}

static int emul_fetch(void *ctx, gva_t a, void *buf, unsigned n,
                      struct emul_fault *f)
{
    return load(ctx, a, buf, n, P2M_X, f);
}

static int emul_read(void *ctx, gva_t a, void *buf, unsigned n,
                     struct emul_fault *f)
{
    return load(ctx, a, buf, n, P2M_R, f);
}

/* The instruction is given up, to be begun again when there is memory. */
static int starve(struct view *w, gpa_t gpa)
{
    w->is_starved = true;
    w->starved = gpa_to_gfn(gpa);
    return -ENOMEM;
}

/* Both pages are translated, and the second made sure of, before either is
 * written. */
static int emul_write(void *ctx, gva_t a, const void *buf, unsigned n,
                      struct emul_fault *f)
{
    struct view *w = ctx;
    unsigned part = first_part(a, n);
    const char *from = buf;
    gpa_t gpa[2] = { 0, 0 };
    int err = translate(w, a, P2M_W, &gpa[0], f);

    if (err == 0 && part < n) {
        err = translate(w, a + part, P2M_W, &gpa[1], f);
    }
    if (err == 0 && part < n &&
        guest_prepare_gpa(w->v->p2m, gpa[1], n - part) == -ENOMEM) {
        return starve(w, gpa[1]);
    }
    for (unsigned i = 0; i < 2 && err == 0 && n > 0; i++) {
        size_t done;

        err = guest_write_gpa(w->v->p2m, gpa[i], from, part, &done);
        if (err == -ENOENT) {
            err = 0;        /* into a hole: dropped */
        } else if (err == -ENOMEM) {
            return starve(w, gpa[i]);
        } else if (err == -EACCES) {
            *f = (struct emul_fault){ VECTOR_GP, 0, 0 };
            return -EFAULT;
        }
        from += part;
        n -= part;
        part = n;
    }
    return err;
}

static int emul_in(void *ctx, uint16_t port, uint32_t *value, unsigned n)
{
    struct view *w = ctx;

    *value = port_in(w->v->domain, port, n);
    return 0;
}

static int emul_out(void *ctx, uint16_t port, uint32_t value, unsigned n)
{
    struct view *w = ctx;

    port_out(w->v->domain, port, value, n);
    return 0;
}

static const struct emul_ops ops = {
    .fetch = emul_fetch, .read = emul_read, .write = emul_write,
    .in = emul_in, .out = emul_out,
};

void emulate(struct vcpu *v)
{
    struct view w = { .v = v };
    enum emul_result result;
    struct emul e;

    arch_vcpu_paging(v, &w.pg);
    emul_init(&e, v, &ops, &w);
    result = emul_insn(&e);
    if (w.is_starved) {
        /* A string's finished part counts; RIP is still there. */
        oom_park(v, w.starved);
        return;
    }
    oom_settle(v);
    switch (result) {
    case EMUL_DONE:
        break;
    case EMUL_FAULT:
        if (e.fault.vector == VECTOR_PF) {
            arch_vcpu_inject_page_fault(v, e.fault.addr, e.fault.error);
        } else {
            arch_vcpu_inject_exception(v, e.fault.vector, e.fault.error);
        }
        break;
    case EMUL_UNHANDLED:
        log_debug("d%u v%u: no emulation of the instruction at %llx",
                  v->domain->id, v->id, (unsigned long long)v->regs.rip);
        arch_vcpu_inject_exception(v, VECTOR_GP, 0);
        break;
    }
}
