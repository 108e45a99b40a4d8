/*
 * vcpu_op.c - bringing up further vCPUs, their timers and where their
 * vcpu_info lives.
 */
#include <public/xen/vcpu.h>
#include <quire/arch.h>

#include "build.h"
#include "domain_life.h"
#include "hypercall.h"
#include "policy.h"

#define CR0_PE 1u
#define CR0_PG (1u << 31)
#define CR4_PAE (1u << 5)
#define EFER_LONG ((1u << 8) | (1u << 10))      /* LME, LMA */
#define MIN_PERIOD_NS 1000000

static int state_32(struct vcpu_state *s, const struct vcpu_hvm_x86_32 *c)
{
    if ((c->efer & EFER_LONG) != 0) {
        return -EINVAL;
    }
    s->regs = (struct vcpu_regs){
        .rax = c->eax, .rcx = c->ecx, .rdx = c->edx, .rbx = c->ebx,
        .rsp = c->esp, .rbp = c->ebp, .rsi = c->esi, .rdi = c->edi,
        .rip = c->eip, .rflags = c->eflags | 2 };
    s->cr0 = c->cr0 | 0x10;
    s->cr3 = c->cr3;
    s->cr4 = c->cr4;
    s->efer = c->efer;
    s->seg[SEG_CS] = (struct vcpu_segment){ 0, c->cs_ar & 0xfff, c->cs_limit,
                                            c->cs_base };
    s->seg[SEG_DS] = (struct vcpu_segment){ 0, c->ds_ar & 0xfff, c->ds_limit,
                                            c->ds_base };
    s->seg[SEG_SS] = (struct vcpu_segment){ 0, c->ss_ar & 0xfff, c->ss_limit,
                                            c->ss_base };
    s->seg[SEG_ES] = (struct vcpu_segment){ 0, c->es_ar & 0xfff, c->es_limit,
                                            c->es_base };
    s->seg[SEG_TR] = (struct vcpu_segment){ 0, c->tr_ar & 0xfff, c->tr_limit,
                                            c->tr_base };
    s->seg[SEG_FS] = s->seg[SEG_GS] = (struct vcpu_segment){ 0 };
    return 0;
}

static int state_64(struct vcpu_state *s, const struct vcpu_hvm_x86_64 *c)
{
    if ((c->cr0 & CR0_PE) == 0 || (c->cr0 & CR0_PG) == 0 ||
        (c->cr4 & CR4_PAE) == 0 || (c->efer & EFER_LONG) == 0) {
        return -EINVAL;
    }
    s->regs = (struct vcpu_regs){
        .rax = c->rax, .rcx = c->rcx, .rdx = c->rdx, .rbx = c->rbx,
        .rsp = c->rsp, .rbp = c->rbp, .rsi = c->rsi, .rdi = c->rdi,
        .rip = c->rip, .rflags = c->rflags | 2 };
    s->cr0 = c->cr0 | 0x10;
    s->cr3 = c->cr3;
    s->cr4 = c->cr4;
    s->efer = c->efer | EFER_LONG;
    s->seg[SEG_CS].attr = 0xa9b;
    return 0;
}

static int64_t initialise(struct hypercall *h, struct vcpu *t)
{
    struct vcpu_hvm_context c;
    struct vcpu_state s;
    int err;

    if (hypercall_get(h, h->arg[2], &c, sizeof(c)) != 0) {
        return -EFAULT;
    }
    pvh_entry_state(&s, 0, 0);
    if (c.mode == VCPU_HVM_MODE_32B) {
        err = state_32(&s, &c.cpu_regs.x86_32);
    } else if (c.mode == VCPU_HVM_MODE_64B) {
        err = state_64(&s, &c.cpu_regs.x86_64);
    } else {
        err = -EINVAL;
    }
    spin_lock(&h->d->lock);
    if (err == 0 && t->initialised) {
        err = -EEXIST;
    }
    if (err == 0) {
        /* Never run yet, so nobody else touches its state. */
        err = arch_vcpu_set_state(t, &s);
        t->initialised = err == 0;
    }
    spin_unlock(&h->d->lock);
    return err;
}

static int64_t up(struct hypercall *h, struct vcpu *t)
{
    spin_lock(&h->d->lock);
    bool is_ready = t->initialised;
    spin_unlock(&h->d->lock);
    if (!is_ready) {
        return -EINVAL;
    }
    vcpu_set_online(t, true);
    return 0;
}

static int64_t set_singleshot(struct hypercall *h, struct vcpu *t)
{
    struct vcpu_set_singleshot_timer s = { 0 };
    /* The 32-bit layout lacks the padding at the end. */
    size_t size = offsetof(struct vcpu_set_singleshot_timer, pad);

    if (t != h->v) {
        return -EINVAL;
    }
    if (hypercall_get(h, h->arg[2], &s, size) != 0) {
        return -EFAULT;
    }
    if ((s.flags & VCPU_SSHOTTMR_future) != 0 &&
        s.timeout_abs_ns < clock_ns(arch_now())) {
        return -ETIME;
    }
    timer_set(&t->events->oneshot, clock_ticks(s.timeout_abs_ns));
    return 0;
}

static int64_t set_periodic(struct hypercall *h, struct vcpu *t)
{
    struct vcpu_set_periodic_timer p;

    if (hypercall_get(h, h->arg[2], &p, sizeof(p)) != 0) {
        return -EFAULT;
    }
    if (p.period_ns < MIN_PERIOD_NS || p.period_ns > INT64_MAX) {
        return -EINVAL;
    }
    ticks_t period = clock_ticks(p.period_ns), now = arch_now();

    atomic_store(&t->events->period, period);
    /* Beyond the clock's reach the sum would wrap round to the past. */
    timer_set(&t->events->periodic,
              period == UINT64_MAX ? UINT64_MAX : now + period);
    return 0;
}

static int64_t stop_periodic(struct vcpu *t)
{
    atomic_store(&t->events->period, 0);
    timer_cancel(&t->events->periodic);
    return 0;
}

static int64_t register_info(struct hypercall *h, struct vcpu *t)
{
    struct vcpu_register_vcpu_info r;
    struct frame *f;
    uint8_t *page;
    int err;

    if (hypercall_get(h, h->arg[2], &r, sizeof(r)) != 0) {
        return -EFAULT;
    }
    if (r.offset > PAGE_SIZE - sizeof(struct vcpu_info) ||
        r.offset % 8 != 0 || r.mfn >> P2M_GFN_BITS != 0 ||
        (t != h->v && atomic_load(&t->online))) {
        return -EINVAL;
    }
    err = domain_pin_gfn(h->d, GFN(r.mfn), &f);
    if (err != 0) {
        h->is_starved = err == -ENOMEM;
        h->v->oom.gfn = GFN(r.mfn);
        return err;
    }
    page = arch_map_frame(frame_to_mfn(f));
    err = evtchn_move_info(t, (struct vcpu_info *)(page + r.offset), f);
    if (err != 0) {
        arch_unmap_frame(page);
        domain_unpin_frame(f);
    }
    return err == -EBUSY ? -EINVAL : err;
}

int64_t hypercall_vcpu_op(struct hypercall *h)
{
    struct vcpu *t;

    if (h->arg[1] >= h->d->nr_vcpus) {
        return -ENOENT;
    }
    t = h->d->vcpus[h->arg[1]];
    switch (h->arg[0]) {
    case VCPUOP_initialise:
        return initialise(h, t);
    case VCPUOP_up:
        return up(h, t);
    case VCPUOP_down:
        vcpu_go_down(t);
        return 0;
    case VCPUOP_is_up:
        return atomic_load(&t->online);
    case VCPUOP_set_periodic_timer:
        return set_periodic(h, t);
    case VCPUOP_stop_periodic_timer:
        return stop_periodic(t);
    case VCPUOP_set_singleshot_timer:
        return set_singleshot(h, t);
    case VCPUOP_stop_singleshot_timer:
        if (t != h->v) {
            return -EINVAL;
        }
        timer_cancel(&t->events->oneshot);
        return 0;
    case VCPUOP_register_vcpu_info:
        return register_info(h, t);
    default:
        return -ENOSYS;
    }
}
