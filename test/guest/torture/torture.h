/*
 * torture.h - one vCPU's page tables, the walk that says what must happen, and
 * the access that is held against it. The essay is in torture.c.
 *
 * Frames, from GUEST_FREE_GFN up:
 *
 *     per vCPU: tables | what they must hold | what may be stale   (world)
 *     all:      harness (user code, shared tables and pages)
 *     rest:     data frames, each named by its own number
 */
#pragma once

#include "guest.h"
#include "random.h"

#define PTE_P UINT64_C(0x001)
#define PTE_W UINT64_C(0x002)
#define PTE_U UINT64_C(0x004)
#define PTE_A UINT64_C(0x020)
#define PTE_D UINT64_C(0x040)
#define PTE_PS UINT64_C(0x080)
#define PTE_G UINT64_C(0x100)
#define PTE_NX (UINT64_C(1) << 63)
#define PTE_ADDR UINT64_C(0x000ffffffffff000)

#define PF_P 1u
#define PF_W 2u
#define PF_U 4u
#define PF_RSV 8u
#define PF_ID 16u

#define CR0_WP (UINT64_C(1) << 16)
#define CR4_PSE (UINT64_C(1) << 4)
#define CR4_PAE (UINT64_C(1) << 5)
#define CR4_PGE (UINT64_C(1) << 7)
#define CR4_SMEP (UINT64_C(1) << 20)
#define CR4_SMAP (UINT64_C(1) << 21)
#define RFLAGS_AC (UINT64_C(1) << 18)

#define NR_TABLES 24
#define NR_ROOTS 2              /* the first tables; one is in CR3 */
#define NR_RECENT 8             /* addresses used again */
#define NR_LIVE 8               /* indices in use at each level */
#define MAX_LEVELS 4

#define COPY_FRAMES NR_TABLES
#define FLAG_FRAMES ((NR_TABLES + 3) / 4)       /* a byte for each 4 bytes */
#define WORLD_FRAMES (NR_TABLES + COPY_FRAMES + FLAG_FRAMES)
#define HARNESS_GFN (GUEST_FREE_GFN + GUEST_MAX_VCPUS * WORLD_FRAMES)
#define HARNESS_FRAMES 32
#define DATA_GFN (HARNESS_GFN + HARNESS_FRAMES)

/* A data frame: word 0 names it, every other word is made from its number;
 * code at CODE_OFFSET; a word for each vCPU to write. No word and no half of
 * one has bit 0 set: as a page table the frame is full of absent entries. */
#define CODE_OFFSET 16
#define SCRATCH_WORD 8

/* How the entries of one paging mode are laid out. */
struct mode {
    const char *name;
    unsigned levels, index_bits, entry_len;
    unsigned root_fixed, root_entries;  /* [fixed, entries) are edited */
    unsigned first[MAX_LEVELS + 1];     /* the first table of each level */
};
extern const struct mode mode_long, mode_pae, mode_two_level, mode_none;

enum kind { READ, WRITE, RMW, FETCH };

/* Wrong rules for the walk, to prove that the test can fail (break=). */
enum rule { RULE_NONE, RULE_NX, RULE_WP, RULE_USER, RULE_RSV, RULE_SMEP,
            RULE_SMAP, RULE_DIRTY, RULE_ACCESSED, RULE_INVLPG,
            RULE_SHOOTDOWN };

/* STALE_RIGHTS: a present entry got more rights: one fault too many may come.
 * STALE_USER: so it did, U among them: less for ring 0 (SMEP, SMAP).
 * STALE_ANY: it changed otherwise: INVLPG first. */
enum stale { STALE_NOT, STALE_RIGHTS, STALE_USER, STALE_ANY };

struct world {
    unsigned id;
    const struct mode *mode;
    struct random random;
    uint64_t round;
    uint64_t tables;            /* gpa of the first table */
    uint8_t *copy;              /* what the tables must hold */
    uint8_t *flags;             /* enum stale, for each 4 bytes of them */
    unsigned live[NR_LIVE], live_root[NR_LIVE];
    uint64_t recent[NR_RECENT];
    unsigned root;
    uint64_t cr0, cr4, efer;
    bool has_global;            /* CR4.PGE was on since all were dropped */
    bool is_switched;           /* ... and the root was another one */
    uint64_t nr_touches, nr_faults, nr_edits, nr_alias_edits, nr_skipped,
             nr_stale, nr_spurious, nr_early;
};

/* What the processor has, and what was asked for; set once. */
struct setup {
    uint64_t seed, rounds, top;         /* top: first gfn above RAM */
    unsigned nr_vcpus, phys_bits;
    bool has_1g, has_smep, has_smap;
    enum rule rule;
    _Atomic unsigned rsv_form;          /* of a reserved bit's error code */
};
enum { RSV_WITHOUT_P = 1, RSV_WITH_P = 2 };
extern struct setup setup;

/* An access and what the walk says of it. */
struct touch {
    uint64_t va, value;
    enum kind kind;
    bool is_user, has_ac;
};
struct walk {
    unsigned nr;
    uint64_t at[MAX_LEVELS], entry[MAX_LEVELS];
    enum stale stale;
    bool is_readable;
    unsigned vector, error;     /* vector 0: no fault, but gpa and size */
    uint64_t gpa, size;
};

/* What came of it. */
struct outcome {
    unsigned vector;
    uint64_t error, cr2, value;
};

/* ---- walk.c ------------------------------------------------------------- */
void walk_address(const struct world *w, const struct touch *t,
                  struct walk *out);

/* ---- tables.c ----------------------------------------------------------- */
void tables_init(struct world *w);
/** tables_is_cached() - translations outlive an access in this mode. */
bool tables_is_cached(const struct world *w);
uint64_t entry_read(const struct world *w, uint64_t at);
bool tables_has(const struct world *w, uint64_t gpa);
/** tables_random_va() - an address whose indices are live. */
uint64_t tables_random_va(struct world *w);
/** tables_edit() - change one entry, perhaps through an alias of its table. */
void tables_edit(struct world *w);
/** tables_expect() - the copy of the entry at @at; tables_note() sets it. */
uint64_t tables_expect(const struct world *w, uint64_t at);
void tables_note(struct world *w, uint64_t at, uint64_t entry);
enum stale tables_stale(const struct world *w, uint64_t at);
/** tables_fresh() - all translations are gone: nothing is stale. */
void tables_fresh(struct world *w);
/** tables_check() - every entry is what it must be, A apart. */
void tables_check(struct world *w);

/* ---- touch.c ------------------------------------------------------------ */
/** touch_random() - access an address at random and judge what happens. */
void touch_random(struct world *w);
/** touch_write() - write @value at @va, where the walk said it goes well. */
void touch_write(struct world *w, uint64_t va, uint64_t value);
void data_init(void);
void data_check(void);

/* ---- control.c: the control registers ----------------------------------- */
void control_init(struct world *w);
/** control_random() - a switch of CR0, CR3, CR4 or EFER, or nothing. */
void control_random(struct world *w);
/** control_fini() - back to the library's tables. */
void control_fini(struct world *w);

/* ---- shootdown.c: pages that all vCPUs share ---------------------------- */
void shootdown_init(void);
uint64_t shootdown_entry(void);         /* for entry 2 of every root */
/** shootdown_poll() - answer, if one was posted (true). */
bool shootdown_poll(struct world *w);
/** shootdown_use() - answer, then use one of the pages and check it. */
void shootdown_use(struct world *w);
/** shootdown_turn() - take a page away, if it is this vCPU's turn. */
void shootdown_turn(struct world *w);

/* ---- harness.c ---------------------------------------------------------- */
void harness_init(void);
/** harness_frame() - the gpa of a zeroed frame of the harness. */
uint64_t harness_frame(void);
uint64_t harness_entry(void);           /* for entry 1 of every root */
/** harness_cpu_init() - user segments for the calling vCPU. */
void harness_cpu_init(unsigned id);
/** harness_run() - make the access, catch the fault. */
void harness_run(const struct world *w, const struct touch *t,
                 struct outcome *out);
/* ---- legacy.c: the same, out of long mode -------------------------------- */
void legacy_init(void);
uint64_t legacy_entry(const struct mode *m);    /* for entry 0 of every root */
void legacy_cpu_init(unsigned id, uint64_t *gdt);
void legacy_run(const struct world *w, const struct touch *t,
                struct outcome *out);
