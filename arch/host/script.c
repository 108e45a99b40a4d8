/*
 * script.c - plays the steps of a scripted guest; see script.h.
 */
#include "tlb.h"
#include "vcpu.h"

#include <quire/arch.h>
#include <quire/panic.h>

#define RFLAGS_IF (UINT64_C(1) << 9)

void host_vcpu_set_script(struct vcpu *v, const struct script *s)
{
    struct host_vcpu *h = v->arch;

    h->script = *s;
    h->base = v->regs.rip;
}

static struct script_step current_step(const struct vcpu *v)
{
    const struct host_vcpu *h = v->arch;
    uint64_t i = v->regs.rip - h->base;
    struct script_step step = { .op = SCRIPT_SHUTDOWN };

    if (h->script.step != NULL) {
        h->script.step(h->script.arg, i, &step);
    } else if (h->script.steps == NULL) {
        step.op = SCRIPT_HLT;
    } else if (i < h->script.nr) {
        step = h->script.steps[i];
    }
    return step;
}

/* What the guest's processor does once it has the page. */
static void touch(struct vcpu *v, const struct script_step *s, mfn_t mfn)
{
    unsigned char *page = arch_map_frame(mfn);
    _Atomic uint64_t *word = (void *)(page + (s->gpa & PAGE_MASK & ~7u));
    uint64_t value;

    switch (s->op) {
    case SCRIPT_WRITE:
        atomic_store_explicit(word, s->value, memory_order_relaxed);
        break;
    case SCRIPT_ADD:
        atomic_fetch_add_explicit(word, s->value, memory_order_relaxed);
        break;
    default:
        value = atomic_load_explicit(word, memory_order_relaxed);
        if (s->op == SCRIPT_READ) {
            v->regs.rax = value;
        } else if (s->op == SCRIPT_EXPECT && value != s->value) {
            panic("guest d%u reads %lx at gpa %lx (mfn %lx), not %lx",
                  v->p2m->owner, value, s->gpa, mfn.n, s->value);
        }
    }
    arch_unmap_frame(page);
}

static unsigned access_of(enum script_op op)
{
    switch (op) {
    case SCRIPT_EXEC:
        return P2M_X;
    case SCRIPT_WRITE: case SCRIPT_ADD: case SCRIPT_WALK:
        return P2M_W;
    default:
        return P2M_R;
    }
}

static bool run_access(struct vcpu *v, const struct script_step *s,
                       struct vcpu_exit *exit)
{
    unsigned access = access_of(s->op);
    bool present;
    mfn_t mfn;

    if (!tlb_access(s->gpa, access, &mfn, &present)) {
        exit->reason = EXIT_NPF;
        exit->npf.gpa = s->gpa;
        /* A read-modify-write of an absent page faults as a read first. */
        exit->npf.access = s->op == SCRIPT_ADD && !present ? P2M_R : access;
        exit->npf.present = present;
        exit->npf.in_walk = s->op == SCRIPT_WALK;
        return true;
    }
    if (mfn_is_ram(mfn)) {
        touch(v, s, mfn);
    }
    v->regs.rip++;
    return false;
}

static bool run_exit(const struct script_step *s, struct vcpu *v,
                     struct vcpu_exit *exit)
{
    static const enum vcpu_exit_reason reason[] = {
        [SCRIPT_HYPERCALL] = EXIT_HYPERCALL, [SCRIPT_CPUID] = EXIT_CPUID,
        [SCRIPT_HLT] = EXIT_HLT, [SCRIPT_PAUSE] = EXIT_PAUSE,
        [SCRIPT_RDMSR] = EXIT_RDMSR, [SCRIPT_WRMSR] = EXIT_WRMSR,
        [SCRIPT_IN] = EXIT_IO, [SCRIPT_OUT] = EXIT_IO,
        [SCRIPT_UNDEFINED] = EXIT_UNDEFINED,
        [SCRIPT_SHUTDOWN] = EXIT_SHUTDOWN, [SCRIPT_INVALID] = EXIT_INVALID,
    };

    exit->reason = reason[s->op];
    exit->insn_len = 1;
    if (s->op == SCRIPT_RDMSR || s->op == SCRIPT_WRMSR) {
        exit->msr.index = (uint32_t)s->value;
        exit->msr.value = v->regs.rdx << 32 | (uint32_t)v->regs.rax;
    } else if (exit->reason == EXIT_IO) {
        exit->io.port = (uint16_t)s->value;
        exit->io.size = 1;
        exit->io.is_in = s->op == SCRIPT_IN;
    }
    return true;
}

bool script_run_step(struct vcpu *v, struct vcpu_exit *exit)
{
    struct host_vcpu *h = v->arch;
    struct script_step s = current_step(v);

    switch (s.op) {
    case SCRIPT_READ: case SCRIPT_EXPECT: case SCRIPT_WRITE: case SCRIPT_ADD:
    case SCRIPT_EXEC: case SCRIPT_WALK:
        return run_access(v, &s, exit);
    case SCRIPT_SET:
        BUG_ON(s.reg > 15);
        (&v->regs.rax)[s.reg] = s.value;
        break;
    case SCRIPT_JUMP:
        v->regs.rip = h->base + s.value;
        return false;
    case SCRIPT_CALL:
        s.fn(v, s.arg);
        break;
    case SCRIPT_STI:
        v->regs.rflags |= RFLAGS_IF;
        break;
    case SCRIPT_CLI:
        v->regs.rflags &= ~RFLAGS_IF;
        break;
    default:
        return run_exit(&s, v, exit);
    }
    v->regs.rip++;
    return false;
}
