/*
 * exec.h - what the emulator's files share. Private to common/emul.
 */
#pragma once

#include <quire/emul.h>

#define RFLAGS_CF UINT64_C(0x0001)
#define RFLAGS_PF UINT64_C(0x0004)
#define RFLAGS_AF UINT64_C(0x0010)
#define RFLAGS_ZF UINT64_C(0x0040)
#define RFLAGS_SF UINT64_C(0x0080)
#define RFLAGS_TF UINT64_C(0x0100)
#define RFLAGS_DF UINT64_C(0x0400)
#define RFLAGS_OF UINT64_C(0x0800)
#define RFLAGS_RF UINT64_C(0x10000)
#define RFLAGS_STATUS (RFLAGS_CF | RFLAGS_PF | RFLAGS_AF | RFLAGS_ZF | \
                       RFLAGS_SF | RFLAGS_OF)

/* The eight of the 00..3F block and of group 1, in their order there. */
enum alu_op { ALU_ADD, ALU_OR, ALU_ADC, ALU_SBB, ALU_AND, ALU_SUB, ALU_XOR,
              ALU_CMP };

/** alu_run() - a OP b of @n bytes; the status flags go into *@flags. */
uint64_t alu_run(enum alu_op op, uint64_t a, uint64_t b, unsigned n,
                 uint64_t *flags);
/** alu_condition() - whether condition @cc (0..15) of Jcc, SETcc holds. */
bool alu_condition(unsigned cc, uint64_t flags);

/* Results of a step. Not 0: the instruction ends with this emul_result. */
#define STEP_OK (-1)

/** emul_linear() - @off in segment @seg, @n bytes; STEP_OK, or EMUL_FAULT. */
int emul_linear(struct emul *e, unsigned seg, gva_t off, unsigned n,
                gva_t *linear);
/** emul_load() and emul_store() - through the ops; STEP_OK or how to end. */
int emul_load(struct emul *e, gva_t linear, uint64_t *value, unsigned n);
int emul_store(struct emul *e, gva_t linear, uint64_t value, unsigned n);
/** emul_get_reg() - register @reg's low @n bytes; AH..BH without REX. */
uint64_t emul_get_reg(const struct emul *e, unsigned reg, unsigned n);
void emul_set_reg(struct emul *e, unsigned reg, unsigned n, uint64_t value);

/** exec_run() - the decoded instruction, unless it is a string one. */
int exec_run(struct emul *e);
/** string_run() - MOVS, STOS, LODS, CMPS, SCAS, INS, OUTS with their REP. */
int string_run(struct emul *e);
/** is_string() - whether the one-byte opcode is one of these. */
bool is_string(const struct insn *i);
