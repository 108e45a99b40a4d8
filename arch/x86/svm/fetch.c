/*
 * fetch.c - reading the instruction that exited, for there is no NRIP save
 * and there are no decode assists.
 *
 * Several vCPUs of a domain exit at once and often, so this takes no lock.
 * The p2m's tables stay, for this CPU is not quiescent; the page may
 * meanwhile become another's, so what was read counts only if the gfn still
 * maps to the same frame afterwards.
 */
#include <quire/arch.h>
#include <quire/emul.h>
#include <quire/guest_walk.h>
#include <quire/string.h>

#include "svm.h"

#define READ_ATTEMPTS 4

/* @len bytes within one page. */
static int read_gpa(void *ctx, gpa_t gpa, void *buf, unsigned len)
{
    const struct p2m *p = ctx;
    gfn_t gfn = gpa_to_gfn(gpa);
    struct p2m_entry e = p2m_lookup(p, gfn);

    for (unsigned k = 0; k < READ_ATTEMPTS; k++) {
        if ((p2m_rights(e.type, 0) & P2M_R) == 0 || !mfn_is_ram(e.mfn)) {
            return -ENOENT;
        }
        const char *page = arch_map_frame(e.mfn);
        memcpy(buf, page + (gpa & PAGE_MASK), len);
        arch_unmap_frame(page);
        atomic_thread_fence(memory_order_acquire);

        struct p2m_entry now = p2m_lookup(p, gfn);
        if (now.type == e.type && mfn_eq(now.mfn, e.mfn)) {
            return 0;
        }
        e = now;
    }
    return -EAGAIN;
}

int svm_read_gva(struct vcpu *v, gva_t a, void *buf, unsigned n,
                 unsigned access)
{
    struct guest_paging pg;
    struct guest_walk w;

    arch_vcpu_paging(v, &pg);
    while (n != 0) {
        unsigned part = (unsigned)MIN(n, PAGE_SIZE - (a & PAGE_MASK));
        int err = guest_walk(&pg, a, access, read_gpa, v->p2m, &w);
        if (err == 0) {
            err = read_gpa(v->p2m, w.gpa, buf, part);
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

void svm_inject_fault(struct vcpu *v, gva_t a, unsigned n, unsigned access)
{
    struct guest_paging pg;
    struct guest_walk w;

    arch_vcpu_paging(v, &pg);
    for (unsigned k = 0; k < n; k++) {
        if (guest_walk(&pg, a + k, access, read_gpa, v->p2m, &w) ==
            -EFAULT) {
            arch_vcpu_inject_page_fault(v, a + k, w.error);
            return;
        }
    }
    svm_inject_gp(v);
}

uint64_t *svm_register(struct vcpu *v, const struct insn *i)
{
    return &(&v->regs.rax)[(i->modrm & 7) | (i->rex & 1) << 3];
}

gva_t svm_operand(struct vcpu *v, const struct insn *i)
{
    const struct vmcb *c = svm_of(v)->vmcb;
    const struct vmcb_segment *const segs[] = {
        &c->es, &c->cs, &c->ss, &c->ds, &c->fs, &c->gs };
    gva_t a = insn_offset(i, &v->regs);

    if (i->mode != 64 || i->seg == SEG_FS || i->seg == SEG_GS) {
        a += segs[i->seg]->base;
    }
    return i->mode == 64 ? a : (uint32_t)a;
}

/* Where RIP is, and how to read what is there. */
static gva_t code_at(const struct vcpu *v, unsigned *mode)
{
    const struct vmcb *c = svm_of(v)->vmcb;

    *mode = insn_mode(c->cs.attr, c->efer);
    return *mode == 64 ? v->regs.rip : (uint32_t)(c->cs.base + v->regs.rip);
}

int svm_decode_cr(struct vcpu *v, struct insn *i)
{
    uint8_t bytes[16];
    unsigned mode, n = 0;
    gva_t at = code_at(v, &mode);

    if (!svm_place_read(v, at, bytes)) {
        return svm_decode(v, i);
    }
    i->rex = 0;
    if (mode == 64 && (bytes[0] & 0xf0) == 0x40) {
        i->rex = bytes[n++];
    }
    if (bytes[n] != 0x0f || (bytes[n + 1] & ~2) != 0x20) {
        return svm_decode(v, i);
    }
    i->mode = (uint8_t)mode;
    i->map = INSN_MAP_0F;
    i->opcode = bytes[n + 1];
    i->modrm = bytes[n + 2];
    i->len = (uint8_t)(n + 3);
    i->has_lock = false;
    return 0;
}

int svm_decode(struct vcpu *v, struct insn *i)
{
    unsigned mode;
    gva_t at = code_at(v, &mode);
    uint8_t bytes[16];
    int err;

    if (likely(svm_place_read(v, at, bytes))) {
        err = insn_decode(i, bytes, INSN_MAX, mode);
        return err < 0 ? err : 0;
    }
    /* The rest of the page first: what follows need not be mapped. */
    unsigned n = (unsigned)MIN(INSN_MAX, PAGE_SIZE - (at & PAGE_MASK));
    err = svm_read_gva(v, at, bytes, n, P2M_X);
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
