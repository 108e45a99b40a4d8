/*
 * emul.c - one instruction from fetch to the new RIP.
 *
 *     fetch (up to the page's end, then on) - insn_decode() - exec_run() or
 *     string_run(): operands in, compute, operands out - RIP, RF, TF
 */
#include <quire/arch.h>

#include "exec.h"

static int fault(struct emul *e, uint8_t vector, uint32_t error, gva_t addr)
{
    e->fault = (struct emul_fault){ vector, error, addr };
    return EMUL_FAULT;
}

static int from_errno(int err)
{
    return err == 0 ? STEP_OK : err == -EFAULT ? EMUL_FAULT : EMUL_UNHANDLED;
}

int emul_load(struct emul *e, gva_t linear, uint64_t *value, unsigned n)
{
    *value = 0;
    return from_errno(e->ops->read(e->ctx, linear, value, n, &e->fault));
}

int emul_store(struct emul *e, gva_t linear, uint64_t value, unsigned n)
{
    return from_errno(e->ops->write(e->ctx, linear, &value, n, &e->fault));
}

static bool is_high_byte(const struct emul *e, unsigned reg, unsigned n)
{
    return n == 1 && e->insn.rex == 0 && reg >= 4;
}

uint64_t emul_get_reg(const struct emul *e, unsigned reg, unsigned n)
{
    const uint64_t *r = &e->regs->rax;
    if (is_high_byte(e, reg, n)) {
        return r[reg - 4] >> 8 & 0xff;
    }
    return n == 8 ? r[reg] : r[reg] & ((UINT64_C(1) << (8 * n)) - 1);
}

void emul_set_reg(struct emul *e, unsigned reg, unsigned n, uint64_t value)
{
    uint64_t *r = &e->regs->rax;
    if (is_high_byte(e, reg, n)) {
        r[reg - 4] = (r[reg - 4] & ~UINT64_C(0xff00)) | (value & 0xff) << 8;
    } else if (n >= 4) {
        r[reg] = n == 8 ? value : (uint32_t)value;
    } else {
        uint64_t mask = (UINT64_C(1) << (8 * n)) - 1;
        r[reg] = (r[reg] & ~mask) | (value & mask);
    }
}

/* Limits count in 16- and 32-bit code only; an expand-down segment's valid
 * offsets are those above it (APM vol. 2, 4.12). */
static bool is_in_limit(const struct vcpu_segment *s, gva_t off, unsigned n)
{
    uint64_t last = off + n - 1;
    if ((s->attr & 0x1c) == 0x14) {
        uint64_t top = (s->attr & 0x400) != 0 ? UINT32_MAX : 0xffff;
        return off > s->limit && last <= top;
    }
    return last <= s->limit;
}

int emul_linear(struct emul *e, unsigned seg, gva_t off, unsigned n,
                gva_t *linear)
{
    const struct vcpu_segment *s = &e->seg[seg];
    uint8_t vector = seg == SEG_SS ? 12 : 13;
    if (e->insn.mode == 64) {
        gva_t a = off + (seg == SEG_FS || seg == SEG_GS ? s->base : 0);
        if ((uint64_t)((int64_t)(a << 16) >> 16) != a) {
            return fault(e, vector, 0, 0);
        }
        *linear = a;
        return STEP_OK;
    }
    if (!is_in_limit(s, off, n)) {
        return fault(e, vector, 0, 0);
    }
    *linear = (uint32_t)(s->base + off);
    return STEP_OK;
}

static int fetch(struct emul *e)
{
    unsigned mode = insn_mode(e->seg[SEG_CS].attr, e->efer), n;
    gva_t at = mode == 64 ? e->regs->rip
                          : (uint32_t)(e->seg[SEG_CS].base + e->regs->rip);
    uint8_t bytes[INSN_MAX];

    /* What follows this page need not be mapped: look there only if asked. */
    n = (unsigned)MIN(INSN_MAX, PAGE_SIZE - (at & PAGE_MASK));
    int err = e->ops->fetch(e->ctx, at, bytes, n, &e->fault);
    if (err != 0) {
        return from_errno(err);
    }
    err = insn_decode(&e->insn, bytes, n, mode);
    if (err == -EAGAIN) {
        err = e->ops->fetch(e->ctx, at + n, bytes + n, INSN_MAX - n,
                            &e->fault);
        if (err != 0) {
            return from_errno(err);
        }
        err = insn_decode(&e->insn, bytes, INSN_MAX, mode);
    }
    return err < 0 ? EMUL_UNHANDLED : STEP_OK;
}

/* Past the instruction; a single-stepping debugger gets its trap. */
static enum emul_result retire(struct emul *e)
{
    uint64_t rip = e->regs->rip + e->insn.len;

    e->regs->rip = e->insn.mode == 64 ? rip : (uint32_t)rip;
    e->regs->rflags &= ~RFLAGS_RF;
    if ((e->regs->rflags & RFLAGS_TF) != 0) {
        return (enum emul_result)fault(e, 1, 0, 0);
    }
    return EMUL_DONE;
}

void emul_init(struct emul *e, struct vcpu *v, const struct emul_ops *ops,
               void *ctx)
{
    struct vcpu_state s;

    arch_vcpu_get_state(v, &s);
    *e = (struct emul){ .regs = &v->regs, .ops = ops, .ctx = ctx,
                        .cr0 = s.cr0, .efer = s.efer };
    for (unsigned k = 0; k < NR_SEGS; k++) {
        e->seg[k] = s.seg[k];
    }
}

enum emul_result emul_insn(struct emul *e)
{
    int s = fetch(e);

    if (s == STEP_OK && e->insn.is_vex) {
        s = EMUL_UNHANDLED;
    }
    if (s == STEP_OK) {
        s = is_string(&e->insn) ? string_run(e) : exec_run(e);
    }
    return s == STEP_OK ? retire(e) : (enum emul_result)s;
}
