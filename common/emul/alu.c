/*
 * alu.c - arithmetic and its flags, for any operand size.
 */
#include "exec.h"

static uint64_t mask_of(unsigned n)
{
    return n == 8 ? UINT64_MAX : (UINT64_C(1) << (8 * n)) - 1;
}

uint64_t alu_run(enum alu_op op, uint64_t a, uint64_t b, unsigned n,
                 uint64_t *flags)
{
    uint64_t mask = mask_of(n), sign = UINT64_C(1) << (8 * n - 1);
    uint64_t carry = *flags & RFLAGS_CF, r = 0, out = 0;
    bool has_carry = false, overflows = false;

    a &= mask;
    b &= mask;
    switch (op) {
    case ALU_ADD: case ALU_ADC:
        carry = op == ALU_ADC ? carry : 0;
        r = (a + b + carry) & mask;
        has_carry = r < a || (carry != 0 && r == a);
        overflows = ((a ^ r) & (b ^ r) & sign) != 0;
        out = (a ^ b ^ r) & RFLAGS_AF;
        break;
    case ALU_SUB: case ALU_SBB: case ALU_CMP:
        carry = op == ALU_SBB ? carry : 0;
        r = (a - b - carry) & mask;
        has_carry = a < b || (carry != 0 && a == b);
        overflows = ((a ^ b) & (a ^ r) & sign) != 0;
        out = (a ^ b ^ r) & RFLAGS_AF;
        break;
    case ALU_OR: r = a | b; break;
    case ALU_AND: r = a & b; break;
    case ALU_XOR: r = a ^ b; break;
    }
    out |= has_carry ? RFLAGS_CF : 0;
    out |= overflows ? RFLAGS_OF : 0;
    out |= r == 0 ? RFLAGS_ZF : 0;
    out |= (r & sign) != 0 ? RFLAGS_SF : 0;
    out |= __builtin_parity((uint8_t)r) == 0 ? RFLAGS_PF : 0;
    *flags = (*flags & ~RFLAGS_STATUS) | out;
    return r;
}

bool alu_condition(unsigned cc, uint64_t flags)
{
    bool cf = (flags & RFLAGS_CF) != 0, zf = (flags & RFLAGS_ZF) != 0;
    bool sf = (flags & RFLAGS_SF) != 0, of = (flags & RFLAGS_OF) != 0;
    const bool holds[8] = {
        of, cf, zf, cf || zf, sf, (flags & RFLAGS_PF) != 0, sf != of,
        zf || sf != of,
    };

    return holds[cc >> 1] != ((cc & 1) != 0);
}
