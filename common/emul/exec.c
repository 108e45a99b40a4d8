/*
 * exec.c - the instructions with a ModRM or absolute memory operand: moves,
 * arithmetic, bits, exchanges.
 *
 * Memory is written before registers and flags, so that a fault leaves
 * everything as it was. A locked instruction is not atomic with other CPUs'
 * accesses: it got here because its operand is no RAM.
 */
#include "exec.h"

/* The instruction's r/m operand: a register or memory at @at. */
struct operand { bool is_memory; unsigned reg; gva_t at; };

static unsigned modrm_reg(const struct insn *i)
{
    return (i->modrm >> 3 & 7) | (i->rex & 4) << 1;
}

static int locate(struct emul *e, unsigned n, struct operand *o)
{
    const struct insn *i = &e->insn;
    o->is_memory = insn_is_memory(i);
    o->reg = (i->modrm & 7) | (i->rex & 1) << 3;
    if (!o->is_memory) {
        return STEP_OK;
    }
    return emul_linear(e, i->seg, insn_offset(i, e->regs), n, &o->at);
}

static int get(struct emul *e, const struct operand *o, unsigned n,
               uint64_t *value)
{
    if (o->is_memory) {
        return emul_load(e, o->at, value, n);
    }
    *value = emul_get_reg(e, o->reg, n);
    return STEP_OK;
}

static int put(struct emul *e, const struct operand *o, unsigned n,
               uint64_t value)
{
    if (o->is_memory) {
        return emul_store(e, o->at, value, n);
    }
    emul_set_reg(e, o->reg, n, value);
    return STEP_OK;
}

/* r/m = r/m OP b, but CMP only sets the flags. Flags change only on success. */
static int modify(struct emul *e, const struct operand *o, enum alu_op op,
                  uint64_t b, bool keeps_carry)
{
    unsigned n = e->insn.op_size;
    uint64_t a, flags = e->regs->rflags;
    int s = get(e, o, n, &a);
    if (s != STEP_OK) {
        return s;
    }
    uint64_t r = alu_run(op, a, b, n, &flags);
    if (op != ALU_CMP) {
        s = put(e, o, n, r);
    }
    if (s == STEP_OK) {
        uint64_t kept = keeps_carry ? RFLAGS_CF : 0;
        e->regs->rflags = (flags & ~kept) | (e->regs->rflags & kept);
    }
    return s;
}

/* 00..3F: OP r/m,reg and OP reg,r/m. */
static int run_alu(struct emul *e, const struct operand *o)
{
    const struct insn *i = &e->insn;
    enum alu_op op = i->opcode >> 3 & 7;
    struct operand r = { .is_memory = false, .reg = modrm_reg(i) };
    uint64_t b;
    if ((i->opcode & 2) == 0) {
        return modify(e, o, op, emul_get_reg(e, r.reg, i->op_size), false);
    }
    int s = get(e, o, i->op_size, &b);
    return s == STEP_OK ? modify(e, &r, op, b, false) : s;
}

/* TEST: AND without a result. */
static int run_test(struct emul *e, const struct operand *o, uint64_t b)
{
    uint64_t a;
    int s = get(e, o, e->insn.op_size, &a);
    if (s == STEP_OK) {
        alu_run(ALU_AND, a, b, e->insn.op_size, &e->regs->rflags);
    }
    return s;
}

/* F6, F7: TEST, NOT and NEG; the multiplications are not for devices. */
static int run_group_3(struct emul *e, const struct operand *o)
{
    const struct insn *i = &e->insn;
    unsigned n = i->op_size;
    uint64_t a, flags = e->regs->rflags;
    int s;
    switch (i->modrm >> 3 & 7) {
    case 0: case 1:
        return run_test(e, o, (uint64_t)i->imm);
    case 2:
        s = get(e, o, n, &a);
        return s == STEP_OK ? put(e, o, n, ~a) : s;
    case 3:
        s = get(e, o, n, &a);
        if (s == STEP_OK) {
            s = put(e, o, n, alu_run(ALU_SUB, 0, a, n, &flags));
        }
        if (s == STEP_OK) {
            e->regs->rflags = flags;
        }
        return s;
    default:
        return EMUL_UNHANDLED;
    }
}

static int run_xchg(struct emul *e, const struct operand *o)
{
    unsigned n = e->insn.op_size, reg = modrm_reg(&e->insn);
    uint64_t a;
    int s = get(e, o, n, &a);
    if (s == STEP_OK) {
        s = put(e, o, n, emul_get_reg(e, reg, n));
    }
    if (s == STEP_OK) {
        emul_set_reg(e, reg, n, a);
    }
    return s;
}

/* FE, FF: INC, DEC and PUSH; branches through memory are not for devices. */
static int run_group_5(struct emul *e, const struct operand *o)
{
    const struct insn *i = &e->insn;
    unsigned which = i->modrm >> 3 & 7;
    if (which <= 1) {
        return modify(e, o, which == 0 ? ALU_ADD : ALU_SUB, 1, true);
    }
    if (which != 6 || i->is_byte) {
        return EMUL_UNHANDLED;
    }
    unsigned n = i->mode == 64 && i->op_size == 4 ? 8 : i->op_size;
    uint64_t a, width = i->mode == 64 ? UINT64_MAX
                      : (e->seg[SEG_SS].attr & 0x400) != 0 ? UINT32_MAX
                      : 0xffff;
    uint64_t rsp = (e->regs->rsp - n) & width;
    gva_t at;
    int s = get(e, o, n, &a);
    if (s == STEP_OK) {
        s = emul_linear(e, SEG_SS, rsp, n, &at);
    }
    if (s == STEP_OK) {
        s = emul_store(e, at, a, n);
    }
    if (s == STEP_OK) {
        e->regs->rsp = (e->regs->rsp & ~width) | rsp;
    }
    return s;
}

/* A0..A3: the accumulator and an absolute address. */
static int run_moffs(struct emul *e)
{
    const struct insn *i = &e->insn;
    unsigned n = i->op_size;
    uint64_t a;
    gva_t at;
    int s = emul_linear(e, i->seg, insn_offset(i, e->regs), n, &at);
    if (s != STEP_OK) {
        return s;
    }
    if ((i->opcode & 2) != 0) {
        return emul_store(e, at, emul_get_reg(e, 0, n), n);
    }
    s = emul_load(e, at, &a, n);
    if (s == STEP_OK) {
        emul_set_reg(e, 0, n, a);
    }
    return s;
}

/* MOVZX, MOVSX, MOVSXD: @from bytes of r/m into a register of op_size. */
static int run_extend(struct emul *e, unsigned from, bool is_signed)
{
    struct operand o;
    uint64_t a;
    int s = locate(e, from, &o);
    if (s == STEP_OK) {
        s = get(e, &o, from, &a);
    }
    if (s == STEP_OK) {
        if (is_signed && (a >> (8 * from - 1) & 1) != 0 && from < 8) {
            a |= UINT64_MAX << (8 * from);
        }
        emul_set_reg(e, modrm_reg(&e->insn), e->insn.op_size, a);
    }
    return s;
}

/* BT, BTS, BTR, BTC. A bit index in a register reaches beyond the operand. */
static int run_bit(struct emul *e, unsigned which, bool has_imm)
{
    const struct insn *i = &e->insn;
    unsigned n = i->op_size, width = 8 * n;
    struct operand o = { .is_memory = insn_is_memory(i),
                         .reg = (i->modrm & 7) | (i->rex & 1) << 3 };
    int64_t index = has_imm ? i->imm
                  : (int64_t)(emul_get_reg(e, modrm_reg(i), n) <<
                              (64 - width)) >> (64 - width);
    uint64_t a, bit = UINT64_C(1) << ((uint64_t)index & (width - 1));
    int s = STEP_OK;
    if (o.is_memory) {
        gva_t off = insn_offset(i, e->regs);
        if (!has_imm) {
            off += (uint64_t)((index & ~(int64_t)(width - 1)) / 8);
            off = i->addr_size == 2 ? (uint16_t)off
                : i->addr_size == 4 ? (uint32_t)off : off;
        }
        s = emul_linear(e, i->seg, off, n, &o.at);
    }
    if (s == STEP_OK) {
        s = get(e, &o, n, &a);
    }
    if (s == STEP_OK && which != 0) {
        s = put(e, &o, n, which == 1 ? a | bit
                        : which == 2 ? a & ~bit : a ^ bit);
    }
    if (s == STEP_OK) {
        e->regs->rflags = (e->regs->rflags & ~RFLAGS_CF) |
                          ((a & bit) != 0 ? RFLAGS_CF : 0);
    }
    return s;
}

/* CMPXCHG: the comparison's flags, and one of two moves. */
static int run_cmpxchg(struct emul *e, const struct operand *o)
{
    unsigned n = e->insn.op_size;
    uint64_t a, acc = emul_get_reg(e, 0, n), flags = e->regs->rflags;
    int s = get(e, o, n, &a);
    if (s != STEP_OK) {
        return s;
    }
    alu_run(ALU_CMP, acc, a, n, &flags);
    bool is_equal = (flags & RFLAGS_ZF) != 0;
    /* The processor writes the old value back when they differ. */
    s = put(e, o, n, is_equal ? emul_get_reg(e, modrm_reg(&e->insn), n) : a);
    if (s == STEP_OK) {
        if (!is_equal) {
            emul_set_reg(e, 0, n, a);
        }
        e->regs->rflags = flags;
    }
    return s;
}

/* XADD: exchange, then add. */
static int run_xadd(struct emul *e, const struct operand *o)
{
    unsigned n = e->insn.op_size, reg = modrm_reg(&e->insn);
    uint64_t a, flags = e->regs->rflags;
    int s = get(e, o, n, &a);
    if (s != STEP_OK) {
        return s;
    }
    uint64_t sum = alu_run(ALU_ADD, a, emul_get_reg(e, reg, n), n, &flags);
    if (o->is_memory) {
        s = emul_store(e, o->at, sum, n);
    }
    if (s == STEP_OK) {
        emul_set_reg(e, reg, n, a);
        if (!o->is_memory) {
            emul_set_reg(e, o->reg, n, sum);
        }
        e->regs->rflags = flags;
    }
    return s;
}

static int run_mov(struct emul *e, const struct operand *o)
{
    const struct insn *i = &e->insn;
    unsigned n = i->op_size, reg = modrm_reg(i);
    uint64_t a;

    if ((i->opcode & 2) == 0) {
        return put(e, o, n, emul_get_reg(e, reg, n));
    }
    int s = get(e, o, n, &a);
    if (s == STEP_OK) {
        emul_set_reg(e, reg, n, a);
    }
    return s;
}

/* CMOVcc reads its operand whether the condition holds or not. */
static int run_cmov(struct emul *e, const struct operand *o)
{
    unsigned n = e->insn.op_size, reg = modrm_reg(&e->insn);
    uint64_t a;
    int s = get(e, o, n, &a);

    if (s == STEP_OK) {
        bool holds = alu_condition(e->insn.opcode & 15, e->regs->rflags);
        emul_set_reg(e, reg, n, holds ? a : emul_get_reg(e, reg, n));
    }
    return s;
}

static int run_0f(struct emul *e)
{
    const struct insn *i = &e->insn;
    struct operand o;

    switch (i->opcode) {
    case 0xb6: case 0xbe:
        return run_extend(e, 1, i->opcode == 0xbe);
    case 0xb7: case 0xbf:
        return run_extend(e, 2, i->opcode == 0xbf);
    case 0xa3: case 0xab: case 0xb3: case 0xbb:
        return run_bit(e, i->opcode >> 3 & 3, false);
    case 0xba:
        return (i->modrm & 0x20) != 0
             ? run_bit(e, i->modrm >> 3 & 3, true) : EMUL_UNHANDLED;
    default:
        break;
    }
    int s = locate(e, i->op_size, &o);
    if (s != STEP_OK) {
        return s;
    }
    switch (i->opcode) {
    case 0x40 ... 0x4f:
        return run_cmov(e, &o);
    case 0x90 ... 0x9f:
        return put(e, &o, 1, alu_condition(i->opcode & 15,
                                           e->regs->rflags));
    case 0xb0: case 0xb1:
        return run_cmpxchg(e, &o);
    case 0xc0: case 0xc1:
        return run_xadd(e, &o);
    case 0xc3:                                      /* MOVNTI */
        return i->rep == 0 && !i->has_66 && o.is_memory
             ? put(e, &o, i->op_size, emul_get_reg(e, modrm_reg(i),
                                                   i->op_size))
             : EMUL_UNHANDLED;
    default:
        return EMUL_UNHANDLED;
    }
}

int exec_run(struct emul *e)
{
    const struct insn *i = &e->insn;
    struct operand o;

    if (i->map == INSN_MAP_0F) {
        return run_0f(e);
    }
    if (i->map != INSN_MAP_1) {
        return EMUL_UNHANDLED;
    }
    if (i->opcode >= 0xa0 && i->opcode <= 0xa3) {
        return run_moffs(e);
    }
    if (i->opcode == 0x63 && i->mode == 64) {
        return run_extend(e, 4, true);
    }
    if (!i->has_modrm) {
        return EMUL_UNHANDLED;
    }
    int s = locate(e, i->op_size, &o);
    if (s != STEP_OK) {
        return s;
    }
    switch (i->opcode) {
    case 0x00 ... 0x3b:
        return run_alu(e, &o);
    case 0x80 ... 0x83:
        return modify(e, &o, i->modrm >> 3 & 7, (uint64_t)i->imm, false);
    case 0x84: case 0x85:
        return run_test(e, &o, emul_get_reg(e, modrm_reg(i), i->op_size));
    case 0x86: case 0x87:
        return run_xchg(e, &o);
    case 0x88 ... 0x8b:
        return run_mov(e, &o);
    case 0xc6: case 0xc7:
        return (i->modrm & 0x38) == 0
             ? put(e, &o, i->op_size, (uint64_t)i->imm) : EMUL_UNHANDLED;
    case 0xf6: case 0xf7:
        return run_group_3(e, &o);
    case 0xfe: case 0xff:
        return run_group_5(e, &o);
    default:
        return EMUL_UNHANDLED;
    }
}
