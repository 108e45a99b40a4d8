/*
 * shootdown.c - pages mapped alike by all vCPUs, and the protocol by which one
 * of them takes a page away from the others.
 *
 *     the one whose turn it is          each other
 *     entry := spare frame, INVLPG
 *     post                    ------->  INVLPG or CR3 load
 *     wait for all            <-------  acknowledge
 *     poison the old frame: the spare
 *
 * Who reads the poison had a translation that it said it dropped. While no
 * change is under way, a page has to be the frame that its entry names, and
 * the writer's D bit has to be in the entry.
 */
#include "torture.h"

#include <public/xen/sched.h>

#define SHARED_VA (UINT64_C(2) << 39)   /* entry 2 of every root */
#define NR_SLOTS 12
#define POISON UINT64_C(0xdeadf4a3e0000000)

static uint64_t *table, upper;
static uint64_t frames[NR_SLOTS + 1];   /* gpa */
static uint64_t spare;
static _Atomic uint64_t now[NR_SLOTS];  /* the frame of each slot */
static _Atomic uint64_t posted, acknowledged[GUEST_MAX_VCPUS];
static _Atomic unsigned posted_slot;
static _Atomic uint64_t changing;       /* odd: a change is under way */
static _Atomic uint64_t turn;

static uint64_t *word(uint64_t gpa)
{
    return (uint64_t *)(uintptr_t)gpa;
}

static volatile uint64_t *slot_word(unsigned slot, unsigned i)
{
    return word(SHARED_VA + slot * PAGE_SIZE + 8 * i);
}

static void drop_slot(unsigned slot)
{
    invlpg((const void *)(uintptr_t)(SHARED_VA + slot * PAGE_SIZE));
}

void shootdown_init(void)
{
    table = word(harness_frame());
    upper = GVA(table) | PTE_P | PTE_W | PTE_A;
    for (unsigned level = 2; level < MAX_LEVELS; level++) {
        uint64_t t = harness_frame();

        *word(t) = upper;
        upper = t | PTE_P | PTE_W | PTE_A;
    }
    for (unsigned i = 0; i < NR_SLOTS; i++) {
        now[i] = frames[i] = harness_frame();
        *word(frames[i]) = mix64(frames[i]);
        table[i] = frames[i] | PTE_P | PTE_W;
    }
    spare = harness_frame();
    *word(spare) = POISON;
}

uint64_t shootdown_entry(void)
{
    return upper;
}

bool shootdown_poll(struct world *w)
{
    uint64_t p = posted;

    if (acknowledged[w->id] == p) {
        return false;
    }
    if (setup.rule != RULE_SHOOTDOWN) {
        if ((p & 1) != 0) {
            drop_slot(posted_slot);
        } else {
            write_cr3(read_cr3());      /* none of them is global */
        }
    }
    acknowledged[w->id] = p;
    return true;
}

static void wait_for_all(struct world *w, uint64_t p)
{
    acknowledged[w->id] = p;
    for (unsigned i = 0; i < setup.nr_vcpus; i++) {
        while (acknowledged[i] != p) {
            cpu_relax();
            (void)hc_sched_op(SCHEDOP_yield, NULL);
        }
    }
}

static void remap(struct world *w)
{
    /* Not from the vCPU's own numbers: when its turn comes is chance. */
    unsigned slot = (unsigned)(mix64(setup.seed + turn) % NR_SLOTS);
    uint64_t old = now[slot], new = spare;

    *word(new) = mix64(new);
    changing++;
    (void)atomic_exchange((_Atomic uint64_t *)&table[slot],
                          new | PTE_P | PTE_W);
    now[slot] = new;
    drop_slot(slot);
    posted_slot = slot;
    wait_for_all(w, ++posted);
    *word(old) = POISON;
    spare = old;
    changing++;
    turn++;
}

/* Just acknowledged: the slot is the new frame at once, and stays it until
 * the next change is posted. */
static void check_gone(struct world *w)
{
    unsigned slot = posted_slot;
    uint64_t p = posted, frame = now[slot], is = *slot_word(slot, 0);

    CHECK(posted != p || acknowledged[w->id] != p || now[slot] != frame ||
          is == mix64(frame),
          "seed %lu vcpu %u round %lu: slot %u: %lx after the shootdown, not "
          "%lx", setup.seed, w->id, w->round, slot, is, mix64(frame));
}

void shootdown_use(struct world *w)
{
    unsigned slot = (unsigned)random_below(&w->random, NR_SLOTS);
    uint64_t value = random_next(&w->random);

    if (shootdown_poll(w)) {
        check_gone(w);
    }
    uint64_t before = changing, frame = now[slot];
    uint64_t is = *slot_word(slot, 0);
    *slot_word(slot, 1 + w->id) = value;
    uint64_t written = *(volatile uint64_t *)word(frame + 8 * (1 + w->id));
    uint64_t entry = *(volatile uint64_t *)&table[slot];
    bool is_settled = before % 2 == 0 && changing == before;

    CHECK(is != POISON, "seed %lu vcpu %u round %lu: slot %u: a page that was "
          "taken away", setup.seed, w->id, w->round, slot);
    if (is_settled) {
        CHECK(is == mix64(frame) && written == value &&
              entry == (frame | PTE_P | PTE_W | PTE_A | PTE_D),
              "seed %lu vcpu %u round %lu: slot %u: %lx not %lx, wrote %lx "
              "not %lx, entry %lx", setup.seed, w->id, w->round, slot, is,
              mix64(frame), written, value, entry);
    }
}

void shootdown_turn(struct world *w)
{
    if (turn % setup.nr_vcpus == w->id) {
        remap(w);
    }
}
