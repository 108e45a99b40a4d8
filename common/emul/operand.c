/*
 * operand.c - where an instruction's memory operand lies.
 */
#include <quire/emul.h>

#define EFER_LMA (UINT64_C(1) << 10)
#define CS_ATTR_L 0x200u
#define CS_ATTR_DB 0x400u

unsigned insn_mode(uint16_t cs_attr, uint64_t efer)
{
    if ((efer & EFER_LMA) != 0 && (cs_attr & CS_ATTR_L) != 0) {
        return 64;
    }
    return (cs_attr & CS_ATTR_DB) != 0 ? 32 : 16;
}

bool insn_is_memory(const struct insn *i)
{
    return i->has_modrm && i->modrm < 0xc0;
}

/* struct vcpu_regs is laid out as the processor numbers them. */
static uint64_t reg(const struct vcpu_regs *r, unsigned n)
{
    return (&r->rax)[n];
}

/* The eight pairs of 16-bit addressing. */
static uint64_t offset_16(const struct insn *i, const struct vcpu_regs *r)
{
    unsigned mod = i->modrm >> 6, rm = i->modrm & 7;
    const uint64_t base[8] = {
        r->rbx + r->rsi, r->rbx + r->rdi, r->rbp + r->rsi, r->rbp + r->rdi,
        r->rsi, r->rdi, mod == 0 ? 0 : r->rbp, r->rbx,
    };

    return base[rm] + (uint64_t)i->disp;
}

gva_t insn_offset(const struct insn *i, const struct vcpu_regs *r)
{
    unsigned mod = i->modrm >> 6, base = i->modrm & 7;
    uint64_t at = (uint64_t)i->disp;

    if (i->addr_size == 2) {
        return (uint16_t)(i->has_modrm ? offset_16(i, r) : at);
    }
    if (i->has_modrm && i->has_sib) {
        unsigned index = (i->sib >> 3 & 7) | (i->rex & 2) << 2;
        base = i->sib & 7;
        if (index != 4) {
            at += reg(r, index) << (i->sib >> 6);
        }
        if (base != 5 || mod != 0) {
            at += reg(r, base | (i->rex & 1) << 3);
        }
    } else if (i->has_modrm && base == 5 && mod == 0) {
        if (i->mode == 64) {
            at += r->rip + i->len;
        }
    } else if (i->has_modrm) {
        at += reg(r, base | (i->rex & 1) << 3);
    }
    return i->addr_size == 4 ? (uint32_t)at : at;
}
