/*
 * emul.h - decoding x86 instructions, and emulating those that touch memory
 * or ports the processor cannot reach by itself.
 *
 * The decoder is one table look-up and a walk over the bytes: length, prefixes
 * and operands of 16-, 32- and 64-bit code (one-byte, 0F, 0F38 and 0F3A maps,
 * VEX, EVEX and XOP). The emulator handles the moves, string, bit-test and
 * arithmetic instructions with a memory operand that drivers use on MMIO. It
 * sees memory only through the caller's functions, which decide what an
 * address is: RAM, device or hole.
 * No state, no locks, no allocation.
 */
#pragma once

#include <quire/errno.h>
#include <quire/vcpu.h>

#define INSN_MAX 15             /* bytes; a longer one is #GP */

enum insn_map { INSN_MAP_1, INSN_MAP_0F, INSN_MAP_0F38, INSN_MAP_0F3A,
                INSN_MAP_OTHER };   /* EVEX 5, 6 and XOP 8..10 */

struct insn {
    uint8_t len;                /* bytes, all told */
    uint8_t mode;               /* 16, 32 or 64 */
    uint8_t op_size;            /* 2, 4 or 8 bytes; 1 for a byte form */
    uint8_t addr_size;          /* 2, 4 or 8 bytes */
    uint8_t map;                /* enum insn_map */
    uint8_t opcode;             /* last opcode byte */
    uint8_t rex;                /* 0x40 | WRXB if there was one, or VEX's */
    uint8_t rep;                /* 0, 0xf2 or 0xf3 */
    uint8_t seg;                /* SEG_* of the memory operand */
    uint8_t modrm, sib;
    uint8_t disp_len, imm_len;  /* bytes */
    bool has_modrm, has_sib, has_lock, is_vex, is_byte;
    bool has_66;                /* operand size prefix, as seen */
    int64_t disp, imm;          /* sign-extended; a moffs is in disp */
};

/**
 * insn_decode() - the instruction at @bytes, of which @n are known.
 * @mode: 16, 32 or 64. Never reads beyond @bytes + @n.
 * Returns its length, 1 .. INSN_MAX; -EAGAIN: it goes on after @n bytes (only
 * when @n < INSN_MAX); -EINVAL: no such instruction, or over-long.
 */
int must_check insn_decode(struct insn *i, const uint8_t *bytes, unsigned n,
                           unsigned mode);
/** insn_is_memory() - whether ModRM names memory, not a register. */
bool insn_is_memory(const struct insn *i);
/** insn_offset() - effective address of the ModRM or moffs operand, without
 *  the segment's base, cut to the address size. */
gva_t insn_offset(const struct insn *i, const struct vcpu_regs *r);
/** insn_mode() - 16, 32 or 64, from a CS descriptor and EFER. */
unsigned insn_mode(uint16_t cs_attr, uint64_t efer);

/* An exception for the guest: vector, error code, and CR2 for a #PF. */
struct emul_fault { uint8_t vector; uint32_t error; gva_t addr; };

/*
 * How the emulator reaches the outside. Addresses are linear; @n is 1 .. 16
 * bytes and may cross a page. 0, or -EFAULT with *@f filled (the guest gets
 * it), or another error (the instruction is given up: EMUL_UNHANDLED). A
 * write that fails must have written nothing.
 */
struct emul_ops {
    int (*fetch)(void *ctx, gva_t a, void *buf, unsigned n,
                 struct emul_fault *f);
    int (*read)(void *ctx, gva_t a, void *buf, unsigned n,
                struct emul_fault *f);
    int (*write)(void *ctx, gva_t a, const void *buf, unsigned n,
                 struct emul_fault *f);
    /* Ports; @n is 1, 2 or 4. May be NULL: INS and OUTS are unhandled. */
    int (*in)(void *ctx, uint16_t port, uint32_t *value, unsigned n);
    int (*out)(void *ctx, uint16_t port, uint32_t value, unsigned n);
};

enum emul_result {
    EMUL_DONE,          /* regs advanced; a REP may be only part done: then
                         * RIP is unchanged and the guest runs it again */
    EMUL_FAULT,         /* inject emul->fault; regs as the fault wants them */
    EMUL_UNHANDLED,     /* not an instruction we emulate; nothing changed */
};

#define EMUL_REP_MAX 12     /* iterations of a REP a call */

struct emul {
    struct vcpu_regs *regs;             /* updated */
    struct vcpu_segment seg[NR_SEGS];
    uint64_t cr0, efer;
    const struct emul_ops *ops;
    void *ctx;                          /* handed to the ops */
    struct emul_fault fault;            /* out: EMUL_FAULT */
    struct insn insn;                   /* out: what was decoded */
};

/** emul_init() - for @v, whose registers the emulator will update. */
void emul_init(struct emul *e, struct vcpu *v, const struct emul_ops *ops,
               void *ctx);
/** emul_insn() - fetch, decode and carry out the instruction at RIP. */
enum emul_result must_check emul_insn(struct emul *e);
