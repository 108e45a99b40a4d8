/*
 * exit.c - from the processor's exit code to struct vcpu_exit: one table.
 *
 * A line names the handler and, for exits where an instruction completes, how
 * long it is without prefixes. The true length comes from its bytes; the
 * short one is the fallback when another vCPU has taken the page away.
 */
#include <quire/arch.h>
#include <quire/emul.h>
#include <quire/panic.h>

#include "svm.h"

static void exit_intr(struct vcpu *v, struct vcpu_exit *e)
{
    (void)v;
    e->reason = EXIT_INTR;
}

static void exit_window(struct vcpu *v, struct vcpu_exit *e)
{
    (void)v;
    e->reason = EXIT_INTR_WINDOW;
}

static void exit_cpuid(struct vcpu *v, struct vcpu_exit *e)
{
    (void)v;
    e->reason = EXIT_CPUID;
}

static void exit_hlt(struct vcpu *v, struct vcpu_exit *e)
{
    (void)v;
    e->reason = EXIT_HLT;
}

static void exit_pause(struct vcpu *v, struct vcpu_exit *e)
{
    (void)v;
    e->reason = EXIT_PAUSE;
}

static void exit_hypercall(struct vcpu *v, struct vcpu_exit *e)
{
    (void)v;
    e->reason = EXIT_HYPERCALL;
}

static void exit_shutdown(struct vcpu *v, struct vcpu_exit *e)
{
    (void)v;
    e->reason = EXIT_SHUTDOWN;
}

static void exit_undefined(struct vcpu *v, struct vcpu_exit *e)
{
    e->reason = EXIT_UNDEFINED;
    e->code = svm_of(v)->vmcb->exit_code;
}

static void exit_invalid(struct vcpu *v, struct vcpu_exit *e)
{
    e->reason = EXIT_INVALID;
    e->code = svm_of(v)->vmcb->exit_code;
}

/* The caches are the machine's: nothing to write back for a guest. */
static void exit_cache(struct vcpu *v, struct vcpu_exit *e)
{
    arch_vcpu_skip(v, e);
}

/* INT1 is a trap: RIP is behind it. QEMU 7.2 has no INT1: #UD, no exit. */
static void exit_int1(struct vcpu *v, struct vcpu_exit *e)
{
    v->regs.rip += e->insn_len;
    svm_raise(v, VEC_DB, 0);
}

static void exit_rdtscp(struct vcpu *v, struct vcpu_exit *e)
{
    const struct svm_vcpu *a = svm_of(v);
    uint64_t now = e->at + a->vmcb->tsc_offset;

    v->regs.rax = (uint32_t)now;
    v->regs.rdx = now >> 32;
    v->regs.rcx = a->tsc_aux;
    arch_vcpu_skip(v, e);
}

static void exit_io(struct vcpu *v, struct vcpu_exit *e)
{
    const struct vmcb *c = svm_of(v)->vmcb;
    uint64_t info = c->exit_info_1;

    e->reason = EXIT_IO;
    e->insn_len = (uint8_t)(c->exit_info_2 - c->rip);
    e->io.port = (uint16_t)(info >> 16);
    e->io.is_in = (info & 1) != 0;
    e->io.is_string = (info & 4) != 0;
    e->io.is_rep = (info & 8) != 0;
    e->io.size = info >> 4 & 7;         /* one bit each: 1, 2 or 4 bytes */
}

static void exit_npf(struct vcpu *v, struct vcpu_exit *e)
{
    const struct vmcb *c = svm_of(v)->vmcb;
    uint64_t info = c->exit_info_1;

    e->reason = EXIT_NPF;
    e->npf.gpa = c->exit_info_2;
    e->npf.present = (info & 1) != 0;
    e->npf.in_walk = (info >> 33 & 1) != 0;
    e->npf.access = (info & 2) != 0 ? P2M_W
                  : (info & 16) != 0 ? P2M_X : P2M_R;
}

static void exit_pf(struct vcpu *v, struct vcpu_exit *e)
{
    const struct vmcb *c = svm_of(v)->vmcb;

    e->reason = EXIT_PF;
    e->pf.error = (uint32_t)c->exit_info_1;
    e->pf.address = c->exit_info_2;
}

/* Both only so that their delivery cannot loop for ever: pass them on. */
static void exit_db(struct vcpu *v, struct vcpu_exit *e)
{
    (void)e;
    svm_raise(v, VEC_DB, 0);
}

static void exit_ac(struct vcpu *v, struct vcpu_exit *e)
{
    (void)e;
    svm_raise(v, VEC_AC, 0);
}

static void exit_mc(struct vcpu *v, struct vcpu_exit *e)
{
    (void)e;
    panic("machine check while in a guest, at rip %lx", v->regs.rip);
}

#define VMEXIT_TABLE (VMEXIT_RDPRU + 1)
struct exit_line { svm_exit_fn *fn; uint8_t len; };

#define NO_INSN 0
static const struct exit_line exit_table[VMEXIT_TABLE] = {
    [VMEXIT_CR_READ ... VMEXIT_CR_READ + 15] = { svm_exit_cr_read, NO_INSN },
    [VMEXIT_CR_WRITE ... VMEXIT_CR_WRITE + 15] = { svm_exit_cr_write,
                                                   NO_INSN },
    [VMEXIT_DR_READ ... VMEXIT_DR_WRITE + 15] = { svm_exit_dr, NO_INSN },
    [VMEXIT_EXCEPTION + VEC_DB] = { exit_db, NO_INSN },
    [VMEXIT_EXCEPTION + VEC_PF] = { exit_pf, NO_INSN },
    [VMEXIT_EXCEPTION + VEC_AC] = { exit_ac, NO_INSN },
    [VMEXIT_EXCEPTION + VEC_MC] = { exit_mc, NO_INSN },
    [VMEXIT_INTR ... VMEXIT_INIT] = { exit_intr, NO_INSN },
    [VMEXIT_VINTR] = { exit_window, NO_INSN },
    [VMEXIT_RDPMC] = { exit_undefined, NO_INSN },
    [VMEXIT_CPUID] = { exit_cpuid, 2 },
    [VMEXIT_RSM] = { exit_undefined, NO_INSN },
    [VMEXIT_INVD] = { exit_cache, 2 },
    [VMEXIT_PAUSE] = { exit_pause, 2 },
    [VMEXIT_HLT] = { exit_hlt, 1 },
    [VMEXIT_INVLPG] = { svm_exit_invlpg, NO_INSN },
    [VMEXIT_INVLPGA] = { exit_undefined, NO_INSN },
    [VMEXIT_IO] = { exit_io, NO_INSN },
    [VMEXIT_MSR] = { svm_exit_msr, 2 },
    [VMEXIT_TASK_SWITCH] = { exit_invalid, NO_INSN },
    [VMEXIT_SHUTDOWN] = { exit_shutdown, NO_INSN },
    [VMEXIT_VMRUN] = { exit_undefined, NO_INSN },
    [VMEXIT_VMMCALL] = { exit_hypercall, 3 },
    [VMEXIT_VMLOAD ... VMEXIT_SKINIT] = { exit_undefined, NO_INSN },
    [VMEXIT_RDTSCP] = { exit_rdtscp, 3 },
    [VMEXIT_ICEBP] = { exit_int1, 1 },
    [VMEXIT_WBINVD] = { exit_cache, 2 },
    [VMEXIT_MONITOR ... VMEXIT_RDPRU] = { exit_undefined, NO_INSN },
};

static uint8_t instruction_length(struct vcpu *v, uint8_t plain)
{
    struct insn i;

    return svm_decode(v, &i) == 0 ? i.len : plain;
}

void svm_exit_dispatch(struct vcpu *v, struct vcpu_exit *e)
{
    uint64_t code = svm_of(v)->vmcb->exit_code;

    if (code == VMEXIT_NPF) {
        exit_npf(v, e);
        return;
    }
    if (code >= VMEXIT_TABLE || exit_table[code].fn == NULL) {
        exit_invalid(v, e);
        return;
    }
    if (exit_table[code].len != 0) {
        e->insn_len = instruction_length(v, exit_table[code].len);
    }
    exit_table[code].fn(v, e);
}

void arch_vcpu_skip(struct vcpu *v, const struct vcpu_exit *exit)
{
    struct vmcb *c = svm_of(v)->vmcb;
    uint64_t rip = v->regs.rip + exit->insn_len;

    v->regs.rip = insn_mode(c->cs.attr, c->efer) == 64 ? rip : (uint32_t)rip;
    v->regs.rflags &= ~RFLAGS_RF;
    c->shadow = 0;
    if ((v->regs.rflags & RFLAGS_TF) != 0) {
        arch_vcpu_inject_exception(v, VEC_DB, 0);
    }
}
