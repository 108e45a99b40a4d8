/*
 * string.c - the string instructions, with and without REP.
 *
 * A REP is a loop of single steps, each complete before the next: when a step
 * faults, or after EMUL_REP_MAX of them, the registers say how far it got and
 * RIP still points at the instruction, exactly as on the processor.
 */
#include "exec.h"

enum { REG_RAX = 0, REG_RCX = 1, REG_RSI = 6, REG_RDI = 7 };

bool is_string(const struct insn *i)
{
    return i->map == INSN_MAP_1 &&
           ((i->opcode >= 0x6c && i->opcode <= 0x6f) ||
            (i->opcode >= 0xa4 && i->opcode <= 0xa7) ||
            (i->opcode >= 0xaa && i->opcode <= 0xaf));
}

/* An address register, cut to the address size; a 16-bit one keeps its upper
 * part when written, a 32-bit one loses it, as general registers do. */
static uint64_t address_reg(const struct emul *e, unsigned reg)
{
    uint64_t v = (&e->regs->rax)[reg];
    return e->insn.addr_size == 2 ? (uint16_t)v
         : e->insn.addr_size == 4 ? (uint32_t)v : v;
}

static void advance(struct emul *e, unsigned reg, int64_t by)
{
    uint64_t v = address_reg(e, reg) + (uint64_t)by;
    uint64_t *r = &(&e->regs->rax)[reg];
    *r = e->insn.addr_size == 2 ? (*r & ~UINT64_C(0xffff)) | (uint16_t)v
       : e->insn.addr_size == 4 ? (uint32_t)v : v;
}

static int load_source(struct emul *e, uint64_t *value, unsigned n)
{
    gva_t a;
    int s = emul_linear(e, e->insn.seg, address_reg(e, REG_RSI), n, &a);
    return s == STEP_OK ? emul_load(e, a, value, n) : s;
}

/* RDI's operand is in ES whatever the prefixes say. */
static int destination(struct emul *e, unsigned n, gva_t *a)
{
    return emul_linear(e, SEG_ES, address_reg(e, REG_RDI), n, a);
}

static int port_in(struct emul *e, unsigned n, uint64_t *value)
{
    uint32_t v = 0;
    if (e->ops->in == NULL ||
        e->ops->in(e->ctx, (uint16_t)e->regs->rdx, &v, n) != 0) {
        return EMUL_UNHANDLED;
    }
    *value = v;
    return STEP_OK;
}

static int port_out(struct emul *e, unsigned n, uint64_t value)
{
    if (e->ops->out == NULL ||
        e->ops->out(e->ctx, (uint16_t)e->regs->rdx, (uint32_t)value, n) != 0) {
        return EMUL_UNHANDLED;
    }
    return STEP_OK;
}

/* One iteration; the registers advance only when it is complete. */
static int step(struct emul *e, unsigned n)
{
    uint8_t op = e->insn.opcode & 0xfe;
    bool uses_rsi = op == 0x6e || op == 0xa4 || op == 0xa6 || op == 0xac;
    bool uses_rdi = op != 0x6e && op != 0xac;
    int64_t by = (e->regs->rflags & RFLAGS_DF) != 0 ? -(int64_t)n
                                                    : (int64_t)n;
    uint64_t src = emul_get_reg(e, REG_RAX, n), dst = 0;
    gva_t to = 0;
    int s = STEP_OK;

    if (uses_rsi) {
        s = load_source(e, &src, n);
    }
    if (s == STEP_OK && uses_rdi) {
        s = destination(e, n, &to);
    }
    if (s == STEP_OK && op == 0x6c) {
        /* A port read cannot be undone: ask first whether @to takes it. */
        s = emul_load(e, to, &dst, n);
        s = s == STEP_OK ? port_in(e, n, &src) : s;
    }
    if (s == STEP_OK && (op == 0xa6 || op == 0xae)) {
        s = emul_load(e, to, &dst, n);
        if (s == STEP_OK) {
            alu_run(ALU_CMP, src, dst, n, &e->regs->rflags);
        }
    } else if (s == STEP_OK && uses_rdi) {
        s = emul_store(e, to, src, n);
    } else if (s == STEP_OK && op == 0x6e) {
        s = port_out(e, n, src);
    } else if (s == STEP_OK) {
        emul_set_reg(e, REG_RAX, n, src);
    }
    if (s != STEP_OK) {
        return s;
    }
    if (uses_rsi) {
        advance(e, REG_RSI, by);
    }
    if (uses_rdi) {
        advance(e, REG_RDI, by);
    }
    return STEP_OK;
}

int string_run(struct emul *e)
{
    const struct insn *i = &e->insn;
    bool compares = (i->opcode & 0xfe) == 0xa6 || (i->opcode & 0xfe) == 0xae;
    bool is_port = i->opcode <= 0x6f;
    unsigned n = is_port && i->op_size == 8 ? 4 : i->op_size;
    if (i->rep == 0) {
        return step(e, n);
    }
    for (unsigned done = 0; address_reg(e, REG_RCX) != 0; done++) {
        if (done == EMUL_REP_MAX) {
            return EMUL_DONE;           /* RIP as it is: run it again */
        }
        int s = step(e, n);
        if (s != STEP_OK) {
            /* What is done stays done; the rest is for the next attempt. */
            return s == EMUL_UNHANDLED && done != 0 ? EMUL_DONE : s;
        }
        advance(e, REG_RCX, -1);
        bool is_equal = (e->regs->rflags & RFLAGS_ZF) != 0;
        if (compares && is_equal != (i->rep == 0xf3)) {
            break;
        }
    }
    return STEP_OK;
}
