/*
 * shadow_exit.c - the exits that only a guest on shadow paging has: reads of
 * control registers whose value in the processor is not its own, and INVLPG.
 */
#include <quire/arch.h>
#include <quire/domain.h>
#include <quire/emul.h>
#include <quire/shadow.h>

#include "svm.h"

#define OPCODE_MOV_FROM_CR 0x20
#define OPCODE_GROUP_7 0x01
#define GROUP_7_SMSW 4
#define GROUP_7_INVLPG 7

static uint64_t own_cr(const struct svm_vcpu *a, unsigned cr)
{
    return cr == 0 ? a->cr0 : cr == 3 ? a->cr3 : a->cr4;
}

/* SMSW to memory: two bytes. False: the instruction is not done. */
static bool store_word(struct vcpu *v, struct vcpu_exit *e, gva_t at,
                       uint16_t word)
{
    int err = guest_write_gva(v, at, &word, sizeof(word));

    if (err == -ENOMEM) {
        e->reason = EXIT_STARVED;
    } else if (err != 0) {
        svm_inject_fault(v, at, sizeof(word), P2M_W);
    }
    return err == 0;
}

static bool smsw(struct vcpu *v, struct vcpu_exit *e, const struct insn *i)
{
    uint64_t cr0 = svm_of(v)->cr0, *reg = svm_register(v, i);

    if (insn_is_memory(i)) {
        return store_word(v, e, svm_operand(v, i), (uint16_t)cr0);
    }
    *reg = i->op_size == 2 ? (*reg & ~UINT64_C(0xffff)) | (uint16_t)cr0
         : i->op_size == 4 ? (uint32_t)cr0 : cr0;
    return true;
}

/* As for a write: what is at RIP now may be something else. */
void svm_exit_cr_read(struct vcpu *v, struct vcpu_exit *e)
{
    unsigned cr = (unsigned)(svm_of(v)->vmcb->exit_code - VMEXIT_CR_READ);
    struct insn i;

    if (svm_decode_cr(v, &i) != 0 || i.map != INSN_MAP_0F) {
        return;
    }
    if (i.opcode == OPCODE_MOV_FROM_CR) {
        *svm_register(v, &i) = own_cr(svm_of(v), cr);
    } else if (i.opcode != OPCODE_GROUP_7 ||
               (i.modrm >> 3 & 7) != GROUP_7_SMSW || !smsw(v, e, &i)) {
        return;
    }
    e->insn_len = i.len;
    arch_vcpu_skip(v, e);
}

/* Of what this CPU holds for the vCPU that has just left. */
static void flush_address(const struct vcpu *v, gva_t a)
{
    asm volatile("invlpga %0, %1" :: "a"(a), "c"(v->asid.asid) : "memory");
}

void svm_exit_invlpg(struct vcpu *v, struct vcpu_exit *e)
{
    struct work w = WORK_INIT;
    struct guest_paging pg;
    struct insn i;
    gva_t a;
    int err;

    if (svm_decode(v, &i) != 0 || i.map != INSN_MAP_0F ||
        i.opcode != OPCODE_GROUP_7 || !insn_is_memory(&i) ||
        (i.modrm >> 3 & 7) != GROUP_7_INVLPG) {
        return;
    }
    a = svm_operand(v, &i);
    arch_vcpu_paging(v, &pg);
    err = shadow_invlpg(v->shadow, v->shadow_vcpu, &pg, a, &w);
    if (err < 0) {
        return;         /* executed again, from where this has stopped */
    }
    if (err == 0) {
        flush_address(v, a);
    } else {
        v->asid = (struct asid_slot){ 0 };
    }
    e->cost = EXIT_COST_INVLPG;
    e->insn_len = i.len;
    arch_vcpu_skip(v, e);
}
