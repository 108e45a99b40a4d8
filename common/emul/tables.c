/*
 * tables.c - the one-byte and 0F opcode maps (APM vol. 3, appendix A).
 *
 * Prefixes and escapes have no line here: the decoder has taken them before
 * it looks. The 0F38 map is ModRM throughout and 0F3A ModRM with a byte of
 * immediate, so that neither needs a table.
 */
#include "tables.h"

/* ADD, OR, ADC, SBB, AND, SUB, XOR and CMP share one shape of six opcodes. */
#define ALU(base) \
    [(base) + 0] = OP_MODRM | OP_BYTE, [(base) + 1] = OP_MODRM, \
    [(base) + 2] = OP_MODRM | OP_BYTE, [(base) + 3] = OP_MODRM, \
    [(base) + 4] = OP_I8 | OP_BYTE, [(base) + 5] = OP_IZ

const uint16_t insn_table_1[256] = {
    ALU(0x00), [0x06 ... 0x07] = OP_NO64,
    ALU(0x08), [0x0e] = OP_NO64,
    ALU(0x10), [0x16 ... 0x17] = OP_NO64,
    ALU(0x18), [0x1e ... 0x1f] = OP_NO64,
    ALU(0x20), [0x27] = OP_NO64,
    ALU(0x28), [0x2f] = OP_NO64,
    ALU(0x30), [0x37] = OP_NO64,
    ALU(0x38), [0x3f] = OP_NO64,
    [0x40 ... 0x4f] = OP_NO64,              /* INC, DEC; REX in 64-bit code */
    [0x50 ... 0x5f] = OP_NONE | OP_D64,
    [0x60 ... 0x61] = OP_NO64,
    [0x62] = OP_MODRM | OP_NO64,            /* BOUND, or EVEX */
    [0x63] = OP_MODRM,                      /* ARPL, MOVSXD */
    [0x68] = OP_IZ | OP_D64,
    [0x69] = OP_MODRM | OP_IZ,
    [0x6a] = OP_I8 | OP_D64,
    [0x6b] = OP_MODRM | OP_I8,
    [0x6c] = OP_NONE | OP_BYTE, [0x6d] = OP_NONE,
    [0x6e] = OP_NONE | OP_BYTE, [0x6f] = OP_NONE,
    [0x70 ... 0x7f] = OP_I8 | OP_D64,
    [0x80] = OP_MODRM | OP_I8 | OP_BYTE,
    [0x81] = OP_MODRM | OP_IZ,
    [0x82] = OP_MODRM | OP_I8 | OP_BYTE | OP_NO64,
    [0x83] = OP_MODRM | OP_I8,
    [0x84] = OP_MODRM | OP_BYTE, [0x85] = OP_MODRM,
    [0x86] = OP_MODRM | OP_BYTE, [0x87] = OP_MODRM,
    [0x88] = OP_MODRM | OP_BYTE, [0x89] = OP_MODRM,
    [0x8a] = OP_MODRM | OP_BYTE, [0x8b ... 0x8e] = OP_MODRM,
    [0x8f] = OP_MODRM | OP_D64,             /* POP, or XOP */
    [0x90 ... 0x99] = OP_NONE,
    [0x9a] = OP_FAR | OP_NO64,
    [0x9b] = OP_NONE,
    [0x9c ... 0x9d] = OP_NONE | OP_D64,
    [0x9e ... 0x9f] = OP_NONE,
    [0xa0] = OP_MOFFS | OP_BYTE, [0xa1] = OP_MOFFS,
    [0xa2] = OP_MOFFS | OP_BYTE, [0xa3] = OP_MOFFS,
    [0xa4] = OP_NONE | OP_BYTE, [0xa5] = OP_NONE,
    [0xa6] = OP_NONE | OP_BYTE, [0xa7] = OP_NONE,
    [0xa8] = OP_I8 | OP_BYTE, [0xa9] = OP_IZ,
    [0xaa] = OP_NONE | OP_BYTE, [0xab] = OP_NONE,
    [0xac] = OP_NONE | OP_BYTE, [0xad] = OP_NONE,
    [0xae] = OP_NONE | OP_BYTE, [0xaf] = OP_NONE,
    [0xb0 ... 0xb7] = OP_I8 | OP_BYTE,
    [0xb8 ... 0xbf] = OP_IV,
    [0xc0] = OP_MODRM | OP_I8 | OP_BYTE, [0xc1] = OP_MODRM | OP_I8,
    [0xc2] = OP_I16 | OP_D64, [0xc3] = OP_NONE | OP_D64,
    [0xc4 ... 0xc5] = OP_MODRM | OP_NO64,   /* LES, LDS, or VEX */
    [0xc6] = OP_MODRM | OP_I8 | OP_BYTE, [0xc7] = OP_MODRM | OP_IZ,
    [0xc8] = OP_I16 | OP_I8 | OP_D64, [0xc9] = OP_NONE | OP_D64,
    [0xca] = OP_I16, [0xcb ... 0xcc] = OP_NONE,
    [0xcd] = OP_I8, [0xce] = OP_NO64, [0xcf] = OP_NONE,
    [0xd0] = OP_MODRM | OP_BYTE, [0xd1] = OP_MODRM,
    [0xd2] = OP_MODRM | OP_BYTE, [0xd3] = OP_MODRM,
    [0xd4 ... 0xd5] = OP_I8 | OP_NO64,
    [0xd6] = OP_NO64, [0xd7] = OP_NONE,
    [0xd8 ... 0xdf] = OP_MODRM,
    [0xe0 ... 0xe3] = OP_I8 | OP_D64,
    [0xe4] = OP_I8 | OP_BYTE, [0xe5] = OP_I8,
    [0xe6] = OP_I8 | OP_BYTE, [0xe7] = OP_I8,
    [0xe8 ... 0xe9] = OP_IZ | OP_D64,
    [0xea] = OP_FAR | OP_NO64, [0xeb] = OP_I8 | OP_D64,
    [0xec] = OP_NONE | OP_BYTE, [0xed] = OP_NONE,
    [0xee] = OP_NONE | OP_BYTE, [0xef] = OP_NONE,
    [0xf1] = OP_NONE, [0xf4 ... 0xf5] = OP_NONE,
    [0xf6] = OP_MODRM | OP_I8 | OP_BYTE | OP_TEST,
    [0xf7] = OP_MODRM | OP_IZ | OP_TEST,
    [0xf8 ... 0xfd] = OP_NONE,
    [0xfe] = OP_MODRM | OP_BYTE, [0xff] = OP_MODRM,
};

const uint16_t insn_table_0f[256] = {
    [0x00 ... 0x03] = OP_MODRM,
    [0x05 ... 0x09] = OP_NONE, [0x0b] = OP_NONE,
    [0x0d] = OP_MODRM, [0x0e] = OP_NONE,
    [0x0f] = OP_MODRM | OP_I8,              /* 3DNow!: opcode comes last */
    [0x10 ... 0x1f] = OP_MODRM,
    [0x20 ... 0x23] = OP_MODRM | OP_REGS | OP_D64,
    [0x28 ... 0x2f] = OP_MODRM,
    [0x30 ... 0x35] = OP_NONE, [0x37] = OP_NONE,
    [0x40 ... 0x6f] = OP_MODRM,
    [0x70 ... 0x73] = OP_MODRM | OP_I8,
    [0x74 ... 0x76] = OP_MODRM, [0x77] = OP_NONE,
    [0x78 ... 0x79] = OP_MODRM,             /* 78: see decode.c */
    [0x7c ... 0x7f] = OP_MODRM,
    [0x80 ... 0x8f] = OP_IZ | OP_D64,
    [0x90 ... 0x9f] = OP_MODRM | OP_BYTE,
    [0xa0 ... 0xa1] = OP_NONE | OP_D64, [0xa2] = OP_NONE,
    [0xa3] = OP_MODRM, [0xa4] = OP_MODRM | OP_I8, [0xa5] = OP_MODRM,
    [0xa8 ... 0xa9] = OP_NONE | OP_D64, [0xaa] = OP_NONE,
    [0xab] = OP_MODRM, [0xac] = OP_MODRM | OP_I8, [0xad ... 0xaf] = OP_MODRM,
    [0xb0] = OP_MODRM | OP_BYTE, [0xb1 ... 0xb9] = OP_MODRM,
    [0xba] = OP_MODRM | OP_I8, [0xbb ... 0xbf] = OP_MODRM,
    [0xc0] = OP_MODRM | OP_BYTE, [0xc1] = OP_MODRM,
    [0xc2] = OP_MODRM | OP_I8, [0xc3] = OP_MODRM,
    [0xc4 ... 0xc6] = OP_MODRM | OP_I8, [0xc7] = OP_MODRM,
    [0xc8 ... 0xcf] = OP_NONE,
    [0xd0 ... 0xff] = OP_MODRM,
};
