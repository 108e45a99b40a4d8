/*
 * tables.h - what the decoder needs to know about each opcode, one 16-bit
 * word each. Private to common/emul.
 */
#pragma once

#include <quire/types.h>

enum {
    OP_MODRM = 0x0001,  /* a ModRM byte follows */
    OP_I8 = 0x0002,     /* one byte of immediate (or rel8) */
    OP_I16 = 0x0004,    /* two bytes; with OP_I8, three (ENTER) */
    OP_IZ = 0x0008,     /* two or four bytes, by operand size */
    OP_IV = 0x0010,     /* two, four or eight bytes */
    OP_MOFFS = 0x0020,  /* an absolute address, by address size */
    OP_FAR = 0x0040,    /* offset by operand size, then a selector */
    OP_BYTE = 0x0080,   /* operands of one byte */
    OP_D64 = 0x0100,    /* 64-bit operands by default in 64-bit code */
    OP_NO64 = 0x0200,   /* undefined in 64-bit code */
    OP_TEST = 0x0400,   /* an immediate only when ModRM.reg is 0 or 1 */
    OP_REGS = 0x0800,   /* ModRM always names registers (MOV CR, MOV DR) */
    OP_NONE = 0x4000,   /* nothing but the opcode */
    OP_UNDEF = 0x0000,  /* a table's default: no such instruction */
};

extern const uint16_t insn_table_1[256];
extern const uint16_t insn_table_0f[256];
