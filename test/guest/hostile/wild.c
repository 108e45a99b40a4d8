/*
 * wild.c - seeded random acts. What each may answer is known only roughly (an
 * error or not, a fault or not); what matters is that the guest, and all
 * others, are whole afterwards.
 */
#include "hostile.h"

#include <public/xen/cpuid.h>
#include <public/xen/memory.h>
#include <public/xen/sched.h>
#include <public/xen/version.h>

static struct random rnd;

/* Addresses and numbers that have broken things before; never our image. */
static uint64_t odd_number(void)
{
    static const uint64_t odd[] = {
        0, 1, 0x7f, 0x80, 0xfff, 0x1000, 0x7ff0, 0x7ff3, 0xffffffff,
        0x80000000, UINT64_C(0x7fffffffffffffff), UINT64_C(1) << 47,
        UINT64_C(0xffff800000000000), UINT64_C(0xfffffffffffff000),
        UINT64_C(0xf0000000), UINT64_C(0xfee00000), UINT64_C(1) << 52,
        ~UINT64_C(0),
    };
    uint64_t k = random_below(&rnd, ARRAY_SIZE(odd) + 4);

    if (k < ARRAY_SIZE(odd)) {
        return odd[k];
    }
    if (k == ARRAY_SIZE(odd)) {
        return random_next(&rnd) >> random_below(&rnd, 32) | UINT64_C(1) << 40;
    }
    return (SCRATCH_GFN << PAGE_SHIFT)
         + random_below(&rnd, NR_SCRATCH << PAGE_SHIFT);
}

static void fill_scratch(void)
{
    uint64_t *p = gfn_ptr(SCRATCH_GFN + random_below(&rnd, NR_SCRATCH));

    for (unsigned i = 0; i < 32; i++) {
        /* A gfn in a structure must not be one that we need. */
        p[random_below(&rnd, PAGE_SIZE / 8)] =
            random_below(&rnd, 2) == 0 ? odd_number()
            : SCRATCH_GFN + random_below(&rnd, NR_SCRATCH);
    }
}

/* Calls that end, stop or speak for the domain would prove nothing. */
static bool is_spared(uint64_t nr, uint64_t sub)
{
    switch ((uint32_t)nr) {
    case __HYPERVISOR_sched_op:
        return sub != SCHEDOP_yield && sub != SCHEDOP_pin_override;
    case __HYPERVISOR_vcpu_op:
        return sub == 0 || sub == 1 || sub == 2;
    case __HYPERVISOR_quire_op:
        return sub == QUIRE_OP_wait_phase || sub == QUIRE_OP_verdict
            || sub == QUIRE_OP_report_phase;
    case __HYPERVISOR_console_io:
        return true;            /* the log is for people */
    default:
        return false;
    }
}

static void wild_call(void)
{
    uint64_t nr = random_below(&rnd, 4) == 0 ? odd_number()
                                             : random_below(&rnd, 64);
    uint64_t sub = random_below(&rnd, 8) == 0 ? odd_number()
                                              : random_below(&rnd, 32);
    fill_scratch();
    if (is_spared(nr, sub) || is_spared(nr, (uint32_t)sub)) {
        return;
    }
    /* Mappings at gfn 0 and the like are fine; at our image they are not,
     * and odd_number() gives no gfn there. */
    (void)hypercall_raw(nr, sub, odd_number(), odd_number(), odd_number(),
                        odd_number());
}

struct access { volatile uint8_t *p; unsigned size; bool is_write; };

static void access(void *arg)
{
    struct access *a = arg;

    switch (a->size << 1 | a->is_write) {
    case 2: (void)*a->p; break;
    case 3: *a->p = 5; break;
    case 4: (void)*(volatile uint16_t *)a->p; break;
    case 5: *(volatile uint16_t *)a->p = 5; break;
    case 8: (void)*(volatile uint32_t *)a->p; break;
    case 9: *(volatile uint32_t *)a->p = 5; break;
    case 16: (void)*(volatile uint64_t *)a->p; break;
    default: *(volatile uint64_t *)a->p = 5; break;
    }
}

static void wild_access(void)
{
    uint64_t gpa = random_next(&rnd) >> (12 + random_below(&rnd, 22));
    struct access a = { .size = 1u << random_below(&rnd, 4),
                        .is_write = random_below(&rnd, 2) != 0 };
    struct guard g;

    if (memory_run(gpa >> PAGE_SHIFT) != 0
        || memory_run((gpa >> PAGE_SHIFT) + 1) != 0) {
        return;
    }
    a.p = memory_window(gpa);
    if (guard_run(&g, access, &a)) {
        CHECK(g.vector == TRAP_PF || g.vector == TRAP_GP,
              "access to gpa %lx: fault %u", gpa, g.vector);
    }
}

struct msr_op { uint32_t index; uint64_t value; bool is_write; };

static void do_msr(void *arg)
{
    struct msr_op *m = arg;

    if (m->is_write) {
        wrmsr(m->index, m->value);
    } else {
        m->value = rdmsr(m->index);
    }
}

static void wild_msr(void)
{
    static const uint32_t bases[] = { 0, 0x170, 0x200, 0x270, 0x400, 0x800,
        0x40000000, 0xc0000080, 0xc0000100, 0xc0010000, 0xc0010110 };
    uint32_t index = bases[random_below(&rnd, ARRAY_SIZE(bases))]
                   + (uint32_t)random_below(&rnd, 32);
    struct msr_op old = { index, 0, false };
    struct msr_op new = { index, odd_number(), true };
    struct guard g;

    if (index == XEN_MSR_HYPERCALL_PAGE) {
        return;                 /* would write stubs over what we check */
    }
    bool has_old = !guard_run(&g, do_msr, &old);
    if (guard_run(&g, do_msr, &new)) {
        CHECK(g.vector == TRAP_GP, "MSR %x: fault %u", index, g.vector);
    } else if (has_old) {
        old.is_write = true;
        CHECK(!guard_run(&g, do_msr, &old), "MSR %x does not go back", index);
    }
}

static void set_cr0(void *v) { write_cr0(*(uint64_t *)v); }
static void set_cr4(void *v) { write_cr4(*(uint64_t *)v); }

static void wild_control(void)
{
    bool is_cr4 = random_below(&rnd, 2) != 0;
    uint64_t old = is_cr4 ? read_cr4() : read_cr0();
    uint64_t new = old ^ UINT64_C(1) << random_below(&rnd, 64);
    struct guard g;

    if (guard_run(&g, is_cr4 ? set_cr4 : set_cr0, &new)) {
        CHECK(g.vector == TRAP_GP, "CR: fault %u", g.vector);
    }
    if (is_cr4) {
        write_cr4(old);
    } else {
        write_cr0(old);
    }
    CHECK((is_cr4 ? read_cr4() : read_cr0()) == old, "a CR does not go back");
}

static void wild_port(void)
{
    uint16_t port = (uint16_t)random_next(&rnd);
    uint64_t v = random_next(&rnd), n = random_below(&rnd, 40);
    void *p = gfn_ptr(SCRATCH_GFN);

    if (port >= 0xe6 && port <= 0xe9) {
        return;
    }
    switch (random_below(&rnd, 5)) {
    case 0:
        CHECK(inl(port) == 0xffffffff, "port %x answers", port);
        break;
    case 1:
        outl(port, (uint32_t)v);
        break;
    case 2:
        asm volatile("rep insw" : "+D"(p), "+c"(n) : "d"(port) : "memory");
        break;
    case 3:
        asm volatile("rep outsb" : "+S"(p), "+c"(n) : "d"(port) : "memory");
        break;
    default:
        outb(port, (uint8_t)v);
        break;
    }
}

static void wild_cpuid(void)
{
    uint32_t r[4];

    cpuid((uint32_t)odd_number(), (uint32_t)odd_number(), r);
}

void wild_steps(uint64_t seed, uint64_t steps)
{
    static void (*const acts[])(void) = {
        wild_call, wild_call, wild_access, wild_msr, wild_control, wild_port,
        wild_cpuid,
    };

    rnd.state = mix64(seed);
    for (uint64_t i = 0; i < steps; i++) {
        acts[random_below(&rnd, ARRAY_SIZE(acts))]();
    }
    CHECK(hc_xen_version(XENVER_pagesize, NULL) == PAGE_SIZE,
          "hypercalls do not work any more");
}
