/*
 * decode.c - one instruction from a few bytes: prefixes, opcode, ModRM, SIB,
 * displacement, immediate, in the order in which they lie.
 *
 * Every byte comes through next(), which is the one place that can run out:
 * the cursor then keeps its error and the steps after it do nothing harmful.
 */
#include <quire/emul.h>

#include "tables.h"

struct cursor {
    const uint8_t *bytes;
    unsigned n, at;         /* usable bytes, bytes taken */
    int err;                /* 0, -EAGAIN or -EINVAL */
};

static uint8_t next(struct cursor *c)
{
    if (c->at < c->n) {
        return c->bytes[c->at++];
    }
    if (c->err == 0) {
        c->err = c->n < INSN_MAX ? -EAGAIN : -EINVAL;
    }
    return 0;
}

/* @n bytes, little-endian, sign-extended. */
static int64_t next_value(struct cursor *c, unsigned n)
{
    uint64_t v = 0;
    for (unsigned k = 0; k < n; k++) {
        v |= (uint64_t)next(c) << (8 * k);
    }
    if (n != 0 && n < 8 && (v >> (8 * n - 1) & 1) != 0) {
        v |= UINT64_MAX << (8 * n);
    }
    return (int64_t)v;
}

#define NO_SEG 0xff

static bool is_segment_prefix(uint8_t b, uint8_t *seg)
{
    switch (b) {
    case 0x26: *seg = SEG_ES; return true;
    case 0x2e: *seg = SEG_CS; return true;
    case 0x36: *seg = SEG_SS; return true;
    case 0x3e: *seg = SEG_DS; return true;
    case 0x64: *seg = SEG_FS; return true;
    case 0x65: *seg = SEG_GS; return true;
    default: return false;
    }
}

/* Prefixes in any order; a REX counts only right before the opcode. Returns
 * the first byte that is none; address size in *@has_67. */
static uint8_t take_prefixes(struct cursor *c, struct insn *i, bool *has_67)
{
    for (;;) {
        uint8_t b = next(c), seg;
        if (c->err != 0) {
            return 0;
        }
        if (is_segment_prefix(b, &seg)) {
            /* 64-bit code ignores all but FS and GS. */
            if (i->mode != 64 || seg == SEG_FS || seg == SEG_GS) {
                i->seg = seg;
            }
        } else if (b == 0x66) {
            i->has_66 = true;
        } else if (b == 0x67) {
            *has_67 = true;
        } else if (b == 0xf0) {
            i->has_lock = true;
        } else if (b == 0xf2 || b == 0xf3) {
            i->rep = b;
        } else if (i->mode == 64 && (b & 0xf0) == 0x40) {
            i->rex = b;
            continue;
        } else {
            return b;
        }
        i->rex = 0;
    }
}

static void set_sizes(struct insn *i, bool has_67, unsigned attr)
{
    if (i->mode == 64) {
        i->addr_size = has_67 ? 4 : 8;
        if ((i->rex & 8) != 0 || (attr & OP_REGS) != 0) {
            i->op_size = 8;
        } else if (i->has_66) {
            i->op_size = 2;
        } else {
            i->op_size = (attr & OP_D64) != 0 ? 8 : 4;
        }
    } else {
        i->addr_size = (i->mode == 16) != has_67 ? 2 : 4;
        i->op_size = (i->mode == 16) != i->has_66 ? 2 : 4;
        if ((attr & OP_REGS) != 0) {
            i->op_size = 4;
        }
    }
    i->is_byte = (attr & OP_BYTE) != 0;
}

static void take_modrm(struct cursor *c, struct insn *i, unsigned attr)
{
    i->has_modrm = true;
    i->modrm = next(c);
    unsigned mod = i->modrm >> 6, rm = i->modrm & 7;
    if ((attr & OP_REGS) != 0) {
        i->modrm |= 0xc0;
        return;
    }
    if (mod == 3) {
        return;
    }
    bool on_stack = false;
    if (i->addr_size == 2) {
        i->disp_len = mod == 0 ? (rm == 6 ? 2 : 0) : mod;
        on_stack = rm == 2 || rm == 3 || (rm == 6 && mod != 0);
    } else {
        unsigned base = rm;
        if (rm == 4) {
            i->has_sib = true;
            i->sib = next(c);
            base = i->sib & 7;
        }
        i->disp_len = mod == 1 ? 1 : mod == 2 || base == 5 ? 4 : 0;
        on_stack = (i->rex & 1) == 0 &&
                   ((base == 4 && i->has_sib) || (base == 5 && mod != 0));
    }
    if (i->seg == NO_SEG && on_stack) {
        i->seg = SEG_SS;
    }
    i->disp = next_value(c, i->disp_len);
}

static unsigned immediate_length(const struct insn *i, unsigned attr)
{
    unsigned z = i->op_size == 2 && !i->is_vex ? 2 : 4, n = 0;
    if ((attr & OP_TEST) != 0 && (i->modrm >> 3 & 7) > 1) {
        return 0;
    }
    n += (attr & OP_I8) != 0 ? 1 : 0;
    n += (attr & OP_I16) != 0 ? 2 : 0;
    n += (attr & OP_IZ) != 0 ? z : 0;
    n += (attr & OP_IV) != 0 ? i->op_size : 0;
    n += (attr & OP_FAR) != 0 ? z + 2 : 0;
    return n;
}

/* Attributes of an opcode that follows VEX, EVEX or XOP, by its map. */
static unsigned vector_attr(unsigned map, uint8_t opcode)
{
    switch (map) {
    case 1: {
        unsigned attr = insn_table_0f[opcode];
        return opcode == 0x77 ? OP_NONE
             : (attr & OP_MODRM) == 0 ? OP_UNDEF : attr & ~OP_REGS;
    }
    case 2: case 5: case 6: case 9:
        return OP_MODRM;
    case 3: case 8:
        return OP_MODRM | OP_I8;
    case 10:
        return OP_MODRM | OP_IZ;
    default:
        return OP_UNDEF;
    }
}

/*
 * C5 (two bytes), C4 and 8F (three) or 62 (four): REX bits inverted, a map
 * number, then the opcode. No other prefix but the segment's and 67 may be
 * there.
 */
static unsigned take_vector(struct cursor *c, struct insn *i, uint8_t lead)
{
    unsigned map = 1;
    uint8_t p = next(c);
    if (i->has_66 || i->has_lock || i->rep != 0 || i->rex != 0) {
        return OP_UNDEF;
    }
    i->is_vex = true;
    i->rex = 0x40 | (p & 0x80 ? 0 : 4);
    if (lead != 0xc5) {
        i->rex |= (p & 0x40 ? 0 : 2) | (p & 0x20 ? 0 : 1);
        map = lead == 0x62 ? p & 7 : p & 0x1f;
        i->rex |= next(c) & 0x80 ? 8 : 0;
    }
    if (lead == 0x62) {
        next(c);
        if (map == 0 || map == 4 || map == 7) {
            return OP_UNDEF;
        }
    } else if ((lead == 0x8f) != (map >= 8)) {
        return OP_UNDEF;
    }
    if (i->mode != 64) {
        i->rex = 0x40;
    }
    i->opcode = next(c);
    i->map = map <= 3 ? map : INSN_MAP_OTHER;
    return vector_attr(map, i->opcode);
}

/* Whether @b opens a vector encoding here: always in 64-bit code, else only
 * where the byte that follows could not be LES', LDS' or BOUND's ModRM. */
static bool is_vector(const struct cursor *c, const struct insn *i, uint8_t b)
{
    uint8_t p = c->at < c->n ? c->bytes[c->at] : 0;
    if (b == 0x8f) {
        return (p & 0x1f) >= 8;
    }
    return (b == 0xc4 || b == 0xc5 || b == 0x62) &&
           (i->mode == 64 || p >= 0xc0);
}

static unsigned take_opcode(struct cursor *c, struct insn *i, uint8_t b)
{
    if (is_vector(c, i, b)) {
        return take_vector(c, i, b);
    }
    if (b != 0x0f) {
        i->opcode = b;
        return insn_table_1[b];
    }
    i->opcode = next(c);
    if (i->opcode == 0x38) {
        i->map = INSN_MAP_0F38;
        i->opcode = next(c);
        return OP_MODRM;
    }
    if (i->opcode == 0x3a) {
        i->map = INSN_MAP_0F3A;
        i->opcode = next(c);
        return OP_MODRM | OP_I8;
    }
    i->map = INSN_MAP_0F;
    if (i->opcode == 0x78 && (i->has_66 || i->rep == 0xf2)) {
        return OP_MODRM | OP_I16;       /* EXTRQ, INSERTQ: two bytes */
    }
    return insn_table_0f[i->opcode];
}

int insn_decode(struct insn *i, const uint8_t *bytes, unsigned n,
                unsigned mode)
{
    struct cursor c = { .bytes = bytes, .n = n < INSN_MAX ? n : INSN_MAX };
    bool has_67 = false;
    *i = (struct insn){ .mode = (uint8_t)mode, .seg = NO_SEG };

    uint8_t b = take_prefixes(&c, i, &has_67);
    if (c.err != 0) {
        return c.err;
    }
    /* The byte after tells POP from XOP and LES from VEX: it must be there. */
    if ((b == 0x8f || b == 0xc4 || b == 0xc5 || b == 0x62) && c.at == c.n) {
        next(&c);
        return c.err;
    }
    unsigned attr = take_opcode(&c, i, b);
    if (c.err != 0) {
        return c.err;
    }
    if (attr == OP_UNDEF || (mode == 64 && (attr & OP_NO64) != 0 &&
                             !i->is_vex)) {
        return -EINVAL;
    }
    set_sizes(i, has_67, attr);
    if ((attr & OP_MODRM) != 0) {
        take_modrm(&c, i, attr);
    }
    if ((attr & OP_MOFFS) != 0) {
        i->disp_len = i->addr_size;
        i->disp = next_value(&c, i->disp_len);
    }
    if (c.err != 0) {
        return c.err;       /* ModRM.reg below would be a guess */
    }
    i->imm_len = (uint8_t)immediate_length(i, attr);
    i->imm = next_value(&c, i->imm_len);
    if (c.err != 0) {
        return c.err;
    }
    if (i->is_byte) {
        i->op_size = 1;
    }
    if (i->seg == NO_SEG) {
        i->seg = SEG_DS;
    }
    i->len = (uint8_t)c.at;
    return i->len;
}
