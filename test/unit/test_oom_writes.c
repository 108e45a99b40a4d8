/*
 * test_oom_writes.c - what Quire itself writes into a guest's memory when
 * there is no memory to unshare it: nothing is half done, the vCPU waits, and
 * then the same is begun again and ends as if nothing had been.
 */
#include "../../common/domain/build.h"
#include "domains.h"
#include "test.h"

#include <public/xen/cpuid.h>
#include <public/xen/event_channel.h>
#include <public/xen/memory.h>
#include <public/xen/vcpu.h>
#include <quire/arch.h>
#include <quire/errno.h>
#include <quire/grace.h>
#include <quire/heap.h>
#include <quire/page_alloc.h>
#include <string.h>

#define PAGES 64u
#define CODE 0x5000         /* RIP; emulated instructions are read from it */
#define ARG 0x10000         /* where results go: the page that is shared */
#define HOLE 0x80000        /* beyond its RAM */
#define FILL 0x5a

enum { RAX, RCX, RDX, RBX, RSI = 6, RDI };

static struct domain *d, *other;
static struct vcpu *v;
static struct frame *hog;
static uint64_t result;

static void record(struct vcpu *t, void *arg)
{
    (void)arg;
    result = t->regs.rax;
}

static void share(gfn_t gfn)
{
    struct share_merge m = { 0 };
    share_handle_t from, to;

    CHECK_EQ(share_nominate(other->p2m, gfn, &from), 0);
    CHECK_EQ(share_nominate(d->p2m, gfn, &to), 0);
    CHECK_EQ(share_frames(other->p2m, gfn, from, d->p2m, gfn, to, &m, NULL),
             0);
}

static void fill(struct domain *t)
{
    static uint8_t page[PAGE_SIZE];
    size_t done;

    memset(page, FILL, sizeof(page));
    for (unsigned g = 0; g < PAGES; g++) {
        CHECK_EQ(guest_write_gpa(t->p2m, gfn_to_gpa(GFN(g)), page,
                                 sizeof(page), &done), 0);
    }
}

/* A 32-bit guest without paging, all of whose pages hold FILL; that of ARG is
 * shared, and there is no memory. */
static void begin(void)
{
    struct domain_config c = test_config("caller", PAGES);
    struct vcpu_state s;
    struct frame *f;

    hog = NULL;
    result = 0x77;
    test_machine(4096, 1);
    other = test_create(&c);
    d = test_create(&c);
    v = d->vcpus[0];
    fill(d);
    fill(other);
    share(gpa_to_gfn(ARG));
    pvh_entry_state(&s, CODE, 0);
    CHECK_EQ(arch_vcpu_set_state(v, &s), 0);
    page_cache_drain();
    heap_cache_drain();
    while ((f = page_alloc(0, FRAME_HEAP)) != NULL) {
        f->user = hog;
        hog = f;
    }
}

static void give_back(unsigned nr)
{
    while (hog != NULL && nr-- != 0) {
        struct frame *f = hog;

        hog = f->user;
        page_free(f, 0);
    }
}

static void peek(gpa_t at, void *buf, size_t len)
{
    CHECK_EQ(guest_read_gpa(d->p2m, at, buf, len), 0);
}

static void check_untouched(gpa_t at, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        uint8_t byte;

        peek(at + i, &byte, 1);
        CHECK_EQ(byte, FILL);
    }
}

/* @steps must stop at step @at for want of memory to write @gfn. */
static void run_dry(const struct script_step *steps, uint64_t nr, uint64_t at,
                    gfn_t gfn)
{
    test_start(d, steps, nr);
    CHECK(test_run_idle());
    CHECK_EQ(atomic_load(&d->state), DOMAIN_RUNNING);
    CHECK_EQ(atomic_load(&d->oom.nr_parked), 1);
    CHECK_EQ(v->regs.rip - CODE, at);
    CHECK_EQ(v->oom.gfn.n, gfn.n);
    CHECK_EQ(result, 0x77);
    CHECK_EQ(oom_audit(), 0);
}

static void run_on(void)
{
    give_back(1);
    CHECK(test_run_idle());
    CHECK_EQ(atomic_load(&d->oom.nr_parked), 0);
    CHECK_EQ(atomic_load(&d->oom.resumes), 1);
    CHECK_EQ(atomic_load(&d->state), DOMAIN_SHUTDOWN);
    CHECK_EQ(oom_audit(), 0);
}

static void end(void)
{
    give_back(UINT32_MAX);
    CHECK_EQ(domain_audit(), 0);
    test_kill(d);
    test_kill(other);
    CHECK(test_run_idle());
    test_settle();
    CHECK_EQ(mem_audit(), 0);
}

TEST(a_hypercall_writes_its_result)
{
    static const struct script_step steps[] = {
        STEP(SET, .reg = RAX, .value = __HYPERVISOR_hvm_op),
        STEP(SET, .reg = RBX, .value = HVMOP_get_time),
        STEP(SET, .reg = RCX, .value = ARG),
        STEP(HYPERCALL), STEP(CALL, .fn = record), STEP(SHUTDOWN),
    };
    uint64_t time;

    begin();
    run_dry(steps, ARRAY_SIZE(steps), 3, gpa_to_gfn(ARG));
    check_untouched(ARG, 16);
    run_on();
    CHECK_EQ(result, 0);
    peek(ARG, &time, sizeof(time));
    CHECK(time != 0 && time >> 56 != FILL);
    check_untouched(ARG + 8, 16);
    end();
}

/* The page that can be written is not, as long as the other cannot. */
TEST(a_result_over_the_end_of_a_page)
{
    static const struct script_step steps[] = {
        STEP(SET, .reg = RAX, .value = __HYPERVISOR_hvm_op),
        STEP(SET, .reg = RBX, .value = HVMOP_get_time),
        STEP(SET, .reg = RCX, .value = ARG - 4),
        STEP(HYPERCALL), STEP(CALL, .fn = record), STEP(SHUTDOWN),
    };
    uint64_t time;

    begin();
    run_dry(steps, ARRAY_SIZE(steps), 3, gpa_to_gfn(ARG));
    check_untouched(ARG - 8, 16);
    run_on();
    CHECK_EQ(result, 0);
    peek(ARG - 4, &time, sizeof(time));
    CHECK(time != 0 && time >> 56 != FILL);
    check_untouched(ARG - 8, 4);
    check_untouched(ARG + 4, 4);
    end();
}

/* What it has bound is given back before it waits. */
TEST(a_port_is_not_bound_twice)
{
    static const struct script_step steps[] = {
        STEP(SET, .reg = RAX, .value = __HYPERVISOR_event_channel_op),
        STEP(SET, .reg = RBX, .value = EVTCHNOP_bind_ipi),
        STEP(SET, .reg = RCX, .value = ARG),
        STEP(HYPERCALL), STEP(CALL, .fn = record), STEP(SHUTDOWN),
    };
    struct evtchn_bind_ipi b = { 0, 0 };
    struct evtchn_status st = { .dom = DOMID_SELF };
    evtchn_port_t port = 0;

    begin();
    /* The table of ports needs memory of its own: have it. */
    give_back(UINT32_MAX);
    CHECK_EQ(evtchn_bind_ipi(d->events, 0, &port), 0);
    CHECK_EQ(evtchn_close(d->events, port), 0);
    size_t done;

    CHECK_EQ(guest_write_gpa(other->p2m, ARG, &b, sizeof(b), &done), 0);
    CHECK_EQ(guest_write_gpa(d->p2m, ARG, &b, sizeof(b), &done), 0);
    share(gpa_to_gfn(ARG));
    for (struct frame *f; (f = page_alloc(0, FRAME_HEAP)) != NULL; hog = f) {
        f->user = hog;
    }
    run_dry(steps, ARRAY_SIZE(steps), 3, gpa_to_gfn(ARG));
    for (port = 1; port < 64; port++) {
        st.port = port;
        CHECK_EQ(evtchn_status(d->events, &st), 0);
        CHECK_EQ(st.status, EVTCHNSTAT_closed);
    }
    run_on();
    CHECK_EQ(result, 0);
    peek(ARG, &b, sizeof(b));
    CHECK_EQ(b.port, 1);
    end();
}

TEST(a_vcpu_info_moves)
{
    static const struct script_step steps[] = {
        STEP(SET, .reg = RAX, .value = __HYPERVISOR_vcpu_op),
        STEP(SET, .reg = RBX, .value = VCPUOP_register_vcpu_info),
        STEP(SET, .reg = RCX, .value = 0),
        STEP(SET, .reg = RDX, .value = ARG + PAGE_SIZE),
        STEP(HYPERCALL), STEP(CALL, .fn = record), STEP(SHUTDOWN),
    };
    struct vcpu_register_vcpu_info r = { .mfn = ARG >> PAGE_SHIFT };
    size_t done;

    begin();
    CHECK_EQ(guest_write_gpa(d->p2m, ARG + PAGE_SIZE, &r, sizeof(r), &done),
             0);
    run_dry(steps, ARRAY_SIZE(steps), 4, gpa_to_gfn(ARG));
    check_untouched(ARG, 64);
    run_on();
    CHECK_EQ(result, 0);
    CHECK(v->events->info_frame != NULL);
    end();
}

TEST(the_hypercall_page_is_written)
{
    static const struct script_step steps[] = {
        STEP(SET, .reg = RAX, .value = ARG), STEP(SET, .reg = RDX),
        STEP(WRMSR, .value = XEN_MSR_HYPERCALL_PAGE),
        STEP(CALL, .fn = record), STEP(SHUTDOWN),
    };
    uint8_t code[3];

    begin();
    run_dry(steps, ARRAY_SIZE(steps), 2, gpa_to_gfn(ARG));
    check_untouched(ARG, 64);
    run_on();
    peek(ARG + 32, code, sizeof(code));
    CHECK(code[0] == 0xb8 && code[1] == 1);
    end();
}

/* MOVS from a hole is emulated; its other end is the guest's memory. */
static void emulated(gpa_t to, uint8_t opcode, unsigned n)
{
    const struct script_step steps[] = {
        STEP(SET, .reg = RSI, .value = HOLE), STEP(SET, .reg = RDI, .value = to),
        STEP(READ, .gpa = HOLE), STEP(CALL, .fn = record), STEP(SHUTDOWN),
    };
    uint8_t byte;
    size_t done;

    begin();
    CHECK_EQ(guest_write_gpa(d->p2m, CODE + 2, &opcode, 1, &done), 0);
    run_dry(steps, ARRAY_SIZE(steps), 2, gpa_to_gfn(ARG));
    check_untouched(to - 4, 4 + n + 4);
    CHECK_EQ(v->regs.rdi, to);
    run_on();
    CHECK_EQ(v->regs.rdi, to + n);
    for (unsigned i = 0; i < n; i++) {
        peek(to + i, &byte, 1);
        CHECK_EQ(byte, 0xff);
    }
    check_untouched(to - 4, 4);
    check_untouched(to + n, 4);
    end();
}

TEST(an_instruction_is_emulated)
{
    emulated(ARG + 8, 0xa4, 1);     /* MOVSB */
}

TEST(an_emulated_write_over_the_end_of_a_page)
{
    emulated(ARG - 2, 0xa5, 4);     /* MOVSD */
}

/* The control channel's: whole, or not at all. */
TEST(a_write_over_the_end_of_a_page)
{
    uint8_t bytes[16] = { 1 };
    size_t done;

    begin();
    CHECK_EQ(guest_write_gpa(d->p2m, ARG - 8, bytes, sizeof(bytes), &done),
             -ENOMEM);
    CHECK_EQ(done, 0);
    check_untouched(ARG - 8, 16);
    CHECK_EQ(guest_prepare_gpa(d->p2m, ARG - 8, 16), -ENOMEM);
    give_back(1);
    CHECK_EQ(guest_prepare_gpa(d->p2m, ARG - 8, 16), 0);
    check_untouched(ARG - 8, 16);
    CHECK_EQ(guest_write_gpa(d->p2m, ARG - 8, bytes, sizeof(bytes), &done),
             0);
    CHECK_EQ(done, 16);
    CHECK_EQ(guest_prepare_gpa(d->p2m, HOLE, 1), -ENOENT);
    CHECK_EQ(guest_prepare_gpa(d->p2m, UINT64_MAX - 1, 2), -ENOENT);
    end();
}
