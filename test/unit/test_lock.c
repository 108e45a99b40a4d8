/* test_lock.c - ticket locks exclude, and the order check stops the machine
 * at an inversion, a recursion and a stray unlock, naming both locks. */
#include "test.h"

#include "host.h"

#include <quire/arch.h>
#include <quire/lock.h>
#include <quire/log.h>
#include <quire/panic.h>
#include <quire/rng.h>
#include <string.h>

static struct spinlock p2m_5 = SPINLOCK_INIT(P2M, 5);
static struct spinlock p2m_9 = SPINLOCK_INIT(P2M, 9);
static struct spinlock share_1 = SPINLOCK_INIT(SHARE, 1);
static struct spinlock heap = SPINLOCK_INIT(HEAP, 0);
static struct spinlock console = SPINLOCK_INIT(CONSOLE, 7);

static void take_in_order(struct spinlock *a, struct spinlock *b)
{
    spin_lock(a);
    spin_lock(b);
}

static void inverted_ranks(void *arg)
{
    (void)arg;
    take_in_order(&share_1, &p2m_5);
}

static void inverted_keys(void *arg)
{
    (void)arg;
    take_in_order(&p2m_9, &p2m_5);
}

static void twice(void *arg)
{
    (void)arg;
    take_in_order(&p2m_5, &p2m_5);
}

static void unlock_unheld(void *arg)
{
    (void)arg;
    spin_lock(&p2m_9);
    spin_unlock(&p2m_5);
}

static void try_inverted(void *arg)
{
    (void)arg;
    spin_lock(&share_1);
    if (spin_trylock(&p2m_5)) {
        log_info("taken");
    }
}

/* After an unlock in the middle the top of the stack still counts. */
static void inverted_after_middle_unlock(void *arg)
{
    (void)arg;
    spin_lock(&p2m_5);
    spin_lock(&share_1);
    spin_lock(&heap);
    spin_unlock(&share_1);
    spin_lock(&p2m_9);
}

static void log_under_console_lock(void *arg)
{
    (void)arg;
    spin_lock(&console);
    log_info("deadlock");
}

static void hold_too_many(void *arg)
{
    static struct spinlock many[20];

    (void)arg;
    for (unsigned i = 0; i < ARRAY_SIZE(many); i++) {
        spin_lock_init(&many[i], LOCK_RANK_SHARE, i);
        spin_lock(&many[i]);
    }
}

static void next_inverted(void *arg)
{
    (void)arg;
    take_in_order(&p2m_5, &share_1);
    spin_lock_next(&share_1, &p2m_5);
}

static void next_of_unheld(void *arg)
{
    (void)arg;
    spin_lock(&p2m_5);
    spin_lock_next(&share_1, &heap);
}

static void key_too_wide(void *arg)
{
    struct spinlock l;

    (void)arg;
    spin_lock_init(&l, LOCK_RANK_SHARE, UINT64_C(1) << 56);
}

TEST(violations_stop_the_machine)
{
    host_machine_init(512, 2);
    CHECK(host_expect_panic(inverted_ranks, NULL,
                            "P2M(5) wanted while holding SHARE(1)"));
    CHECK(host_expect_panic(inverted_keys, NULL,
                            "P2M(5) wanted while holding P2M(9)"));
    CHECK(host_expect_panic(twice, NULL,
                            "P2M(5) wanted while holding P2M(5)"));
    CHECK(host_expect_panic(unlock_unheld, NULL, "unlock of P2M(5)"));
    CHECK(host_expect_panic(try_inverted, NULL,
                            "P2M(5) wanted while holding SHARE(1)"));
    CHECK(host_expect_panic(inverted_after_middle_unlock, NULL,
                            "P2M(9) wanted while holding HEAP(0)"));
    CHECK(host_expect_panic(log_under_console_lock, NULL,
                            "CONSOLE(0) wanted while holding CONSOLE(7)"));
    CHECK(host_expect_panic(hold_too_many, NULL, "14 locks held"));
    CHECK(host_expect_panic(next_inverted, NULL,
                            "P2M(5) wanted while holding P2M(5)"));
    CHECK(host_expect_panic(next_of_unheld, NULL, "unlock of SHARE(1)"));
    CHECK(host_expect_panic(key_too_wide, NULL, "ASSERT"));
}

TEST(stack_follows_locks_in_any_order_of_release)
{
    CHECK_EQ(nr_locks_held(), 0);
    take_in_order(&p2m_5, &p2m_9);
    take_in_order(&share_1, &heap);
    CHECK_EQ(nr_locks_held(), 4);
    spin_unlock(&p2m_9);
    CHECK(!is_lock_held(&p2m_9) && is_lock_held(&share_1));
    spin_unlock(&p2m_5);
    spin_unlock(&heap);
    CHECK(is_lock_held(&share_1));
    spin_unlock(&share_1);
    CHECK_EQ(nr_locks_held(), 0);
}

TEST(pairs_are_taken_ascending_and_one_once)
{
    spin_lock_pair(&p2m_9, &p2m_5);
    CHECK_EQ(nr_locks_held(), 2);
    spin_unlock_pair(&p2m_9, &p2m_5);
    spin_lock_pair(&p2m_5, &p2m_9);
    spin_unlock_pair(&p2m_5, &p2m_9);
    spin_lock_pair(&p2m_5, &p2m_5);
    CHECK_EQ(nr_locks_held(), 1);
    spin_unlock_pair(&p2m_5, &p2m_5);
    CHECK_EQ(nr_locks_held(), 0);
}

/* In any order of their keys: one is held at a time. */
TEST(next_lets_go_of_one_for_another)
{
    spin_lock(&p2m_9);
    spin_lock_next(&p2m_9, &p2m_5);
    CHECK(is_lock_held(&p2m_5) && !is_lock_held(&p2m_9));
    spin_lock(&share_1);
    spin_lock_next(&p2m_5, &heap);      /* not the last taken */
    CHECK(is_lock_held(&heap) && !is_lock_held(&p2m_5));
    CHECK_EQ(nr_locks_held(), 2);
    spin_unlock(&heap);
    spin_unlock(&share_1);
    spin_lock_pair(&p2m_5, &p2m_9);     /* both are free */
    spin_unlock_pair(&p2m_5, &p2m_9);
}

TEST(trylock_fails_when_taken_and_leaves_no_trace)
{
    CHECK(spin_trylock(&p2m_5));
    spin_unlock(&p2m_5);
    p2m_5.ticket += 0x10000;    /* as if another CPU held it */
    CHECK(!spin_trylock(&p2m_5));
    CHECK_EQ(nr_locks_held(), 0);
    p2m_5.ticket -= 0x10000;
}

/* The serving half wraps without touching the other. */
TEST(tickets_wrap)
{
    struct spinlock l = SPINLOCK_INIT(TEST, 0);

    for (unsigned i = 0; i < 70000; i++) {
        spin_lock(&l);
        spin_unlock(&l);
    }
    CHECK_EQ(l.ticket & 0xffff, 70000 & 0xffff);
    CHECK_EQ(l.ticket >> 16, 70000 & 0xffff);
}

static struct spinlock counter_lock = SPINLOCK_INIT(TEST, 1);
static uint64_t counter;        /* plain: the lock is all that guards it */
static _Atomic unsigned inside, intrusions;

/* Stays inside long enough now and then for the others to come by. */
static void count_up(void *arg)
{
    for (uint64_t i = 0; i < *(uint64_t *)arg; i++) {
        spin_lock(&counter_lock);
        intrusions += inside++ != 0;
        counter++;
        for (unsigned k = 0; i % 16 == 0 && k < 64; k++) {
            arch_relax();
        }
        inside--;
        spin_unlock(&counter_lock);
    }
}

TEST(locks_exclude)
{
    uint64_t times = 5000 * test_rounds;

    host_machine_init(512, 4);
    counter = 0;
    host_run_on_cpus(4, count_up, &times);
    CHECK_EQ(counter, 4 * times);
    CHECK_EQ(intrusions, 0);
}

TEST(every_rank_has_its_name)
{
    CHECK_EQ(strcmp(lock_rank_name(LOCK_RANK_CONTROL), "CONTROL"), 0);
    CHECK_EQ(strcmp(lock_rank_name(LOCK_RANK_CONSOLE), "CONSOLE"), 0);
    for (unsigned r = 0; r < NR_LOCK_RANKS; r++) {
        CHECK(strlen(lock_rank_name((enum lock_rank)r)) > 1);
    }
    CHECK_EQ(strcmp(lock_rank_name(NR_LOCK_RANKS), "?"), 0);
}

static void panic_in_words(void *arg)
{
    (void)arg;
    BUG_ON(1 + 1 == 2);
}

TEST(panic_names_the_place)
{
    CHECK(host_expect_panic(panic_in_words, NULL, "BUG: 1 + 1 == 2 at "));
}
