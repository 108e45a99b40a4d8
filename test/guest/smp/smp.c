/*
 * smp - several vCPUs of one domain on the same shared pages: what one of them
 * breaks, the others must see at once, and in one piece.
 *
 *   phase 1   the test pages are filled and reported (figure 0 first gfn, 1
 *             pages); the toolstack shares them and allows phase 2.
 *   phase 2   three tests on each page:
 *     reader  vCPU 0 writes one word; the others read it all the while. They
 *             may see the old value or the new one, never the old after the
 *             new, never the old once vCPU 0 has said that it is written
 *             (that would be a stale translation), and no other word changes.
 *     writers every vCPU writes its own words of the page at the same moment.
 *             If two copies are made and one lost, its words are lost too.
 *     adders  every vCPU adds to one word with LOCK; none may be lost.
 *             Then all pages are verified, and IPIs by event channel are sent
 *             round the ring of vCPUs and counted.
 *
 * Each test takes its own third of the pages, so that each finds them shared.
 * Options: pages=96, cseed=1, then=. As many vCPUs as the domain has, 2 .. 4.
 * Figures: 2 vCPUs, 3 IPIs, 4 pages in which a reader saw the old value first.
 */
#include "event.h"
#include "guest.h"
#include "random.h"

#include <public/xen/sched.h>
#include <public/xen/vcpu.h>

#define WORDS (PAGE_SIZE / 8)
#define NEW_VALUE UINT64_C(0x4e45574e45574e45)
#define WATCHED 77              /* the word that the reader test writes */
#define ADDED 300               /* the word that the adders add to */
#define ADDS 100
#define RING_ROUNDS 50
#define SPINS 50000             /* reads between two exits */

static unsigned nr_vcpus;
static uint64_t first, pages, cseed;
static _Atomic unsigned arrived;        /* the barrier's, counts for ever */
static _Atomic uint64_t written_upto;   /* pages whose word is written */
static _Atomic unsigned saw_old, nr_ipis, ring_at;
static int ring_port[GUEST_MAX_VCPUS];

static uint64_t word_of(uint64_t page, unsigned j)
{
    return mix64(mix64(cseed + page) + j);
}

static volatile uint64_t *page_at(uint64_t i)
{
    return gfn_ptr(first + i);
}

/* vCPUs may share one CPU: give it up while waiting. */
static void wait_a_little(void)
{
    cpu_relax();
    (void)hc_sched_op(SCHEDOP_yield, NULL);
}

static void barrier(void)
{
    unsigned n = ++arrived, target = (n + nr_vcpus - 1) / nr_vcpus * nr_vcpus;

    while ((int)(arrived - target) < 0) {
        wait_a_little();
    }
}

/* Every word of page @i but those that @skip says must be as filled. */
static void check_rest(uint64_t i, bool (*skip)(unsigned j))
{
    for (unsigned j = 0; j < WORDS; j++) {
        if (skip == NULL || !skip(j)) {
            CHECK(page_at(i)[j] == word_of(i, j),
                  "vcpu %u: page %lu word %u is %lx, not %lx", guest_vcpu(),
                  i, j, page_at(i)[j], word_of(i, j));
        }
    }
}

static bool is_watched(unsigned j) { return j == WATCHED; }
static bool is_written(unsigned j) { return j % 8 < nr_vcpus; }
static bool is_added(unsigned j) { return j == ADDED; }

static void watch(uint64_t i)
{
    uint64_t old = word_of(i, WATCHED), seen = 0;
    unsigned spins = 0;
    bool was_old = false;

    while (seen != NEW_VALUE) {
        bool done = written_upto > i;   /* before the read: that matters */

        seen = page_at(i)[WATCHED];
        was_old |= seen == old;
        CHECK(seen == old || seen == NEW_VALUE,
              "vcpu %u: page %lu holds %lx: torn", guest_vcpu(), i, seen);
        CHECK(!done || seen == NEW_VALUE,
              "vcpu %u: page %lu: stale after the write", guest_vcpu(), i);
        if (done && seen != NEW_VALUE) {
            return;
        }
        /* PAUSE exits, and an exit may hide that a flush was forgotten. */
        if (++spins % SPINS == 0) {
            wait_a_little();
        }
    }
    saw_old += was_old;
    for (unsigned k = 0; k < 100; k++) {
        CHECK(page_at(i)[WATCHED] == NEW_VALUE,
              "vcpu %u: page %lu: old after new", guest_vcpu(), i);
    }
    check_rest(i, is_watched);
}

static void test_readers(unsigned id, uint64_t from, uint64_t to)
{
    for (uint64_t i = from; i < to; i++) {
        barrier();
        if (id != 0) {
            watch(i);
            continue;
        }
        for (unsigned k = 0; k < i % 7 * 20; k++) {
            wait_a_little();    /* now before, now after the first read */
        }
        page_at(i)[WATCHED] = NEW_VALUE;
        written_upto = i + 1;
    }
    barrier();
}

static void test_writers(unsigned id, uint64_t from, uint64_t to)
{
    for (uint64_t i = from; i < to; i++) {
        barrier();
        for (unsigned j = id; j < WORDS; j += 8) {
            page_at(i)[j] = NEW_VALUE + id + j;
        }
        barrier();
        for (unsigned j = 0; j < WORDS; j++) {
            CHECK(!is_written(j) || page_at(i)[j] == NEW_VALUE + j % 8 + j,
                  "vcpu %u: page %lu word %u: vcpu %u's store is lost", id,
                  i, j, j % 8);
        }
        check_rest(i, is_written);
    }
    barrier();
}

static void test_adders(unsigned id, uint64_t from, uint64_t to)
{
    (void)id;
    for (uint64_t i = from; i < to; i++) {
        barrier();
        for (unsigned k = 0; k < ADDS; k++) {
            asm volatile("lock incq %0" : "+m"(page_at(i)[ADDED]));
        }
        barrier();
        CHECK(page_at(i)[ADDED] == word_of(i, ADDED) + ADDS * nr_vcpus,
              "page %lu: %ld additions, not %u", i,
              page_at(i)[ADDED] - word_of(i, ADDED), ADDS * nr_vcpus);
        check_rest(i, is_added);
    }
    barrier();
}

/* Each IPI makes its receiver send the next one round the ring. */
static void ring_fired(unsigned port)
{
    unsigned n = ++nr_ipis;

    (void)port;
    CHECK(ring_at == guest_vcpu(), "an IPI for vcpu %u came to %u", ring_at,
          guest_vcpu());
    ring_at = (ring_at + 1) % nr_vcpus;
    if (n < RING_ROUNDS * nr_vcpus) {
        CHECK(event_send((unsigned)ring_port[ring_at]) == 0,
              "an IPI was refused");
    }
}

static void test_ring(unsigned id)
{
    uint64_t limit;

    barrier();
    limit = clock_ns() + UINT64_C(20000000000);
    if (id == 0) {
        ring_at = 1;
        CHECK(event_send((unsigned)ring_port[1]) == 0, "the first IPI");
    }
    while (nr_ipis < RING_ROUNDS * nr_vcpus && clock_ns() < limit) {
        irq_enable();
        wait_a_little();
        irq_disable();
    }
    barrier();
    CHECK(nr_ipis == RING_ROUNDS * nr_vcpus, "%u IPIs, not %u", nr_ipis,
          RING_ROUNDS * nr_vcpus);
}

static void run(unsigned id)
{
    uint64_t third = pages / 3;

    barrier();
    test_readers(id, 0, third);
    test_writers(id, third, 2 * third);
    test_adders(id, 2 * third, 3 * third);
    test_ring(id);
}

static void setup(void)
{
    pages = option_u64("pages", 96);
    cseed = option_u64("cseed", 1);
    first = GUEST_FREE_GFN;
    CHECK(pages >= 3 && pages <= memory_run(first), "pages= does not fit");
    CHECK(event_init() == 0, "no event channels");
    CHECK(clock_is_sane(), "no clock in vcpu_info");
    while (nr_vcpus < GUEST_MAX_VCPUS
           && hc_vcpu_op(VCPUOP_is_up, nr_vcpus, NULL) >= 0) {
        ring_port[nr_vcpus] = event_bind_ipi(nr_vcpus, ring_fired);
        CHECK(ring_port[nr_vcpus] > 0, "bind_ipi: %d", ring_port[nr_vcpus]);
        nr_vcpus++;
    }
    CHECK(nr_vcpus >= 2, "this guest needs at least 2 vCPUs");
    if (guest_failures() != 0) {
        guest_finish("smp");
    }
    for (uint64_t i = 0; i < pages; i++) {
        for (unsigned j = 0; j < WORDS; j++) {
            page_at(i)[j] = word_of(i, j);
        }
    }
}

void guest_main(void)
{
    setup();
    guest_figure(0, first);
    guest_figure(1, pages);
    guest_figure(2, nr_vcpus);
    guest_phase_report(1);
    guest_phase_wait(2);
    for (unsigned id = 1; id < nr_vcpus; id++) {
        int rc = guest_start_vcpu(id, run);

        if (rc != 0) {
            guest_fail("vcpu %u does not start: %d", id, rc);
            guest_finish("smp");
        }
    }
    run(0);
    guest_figure(3, nr_ipis);
    guest_figure(4, saw_old);
    guest_printf("smp: %u vCPUs, %u IPIs, old value seen first %u times\n",
                 nr_vcpus, nr_ipis, saw_old);
    guest_phase_report(2);
    guest_finish("smp");
}
