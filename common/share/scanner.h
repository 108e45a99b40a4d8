/*
 * scanner.h - the scanner's insides, between its files here.
 *
 *     scan.c         passes over the domains, totals, unmerging
 *     scan_page.c    one visit: what to do with this gfn
 *     scan_merge.c   one private page onto a shared frame
 *     scan_slot.c    what is remembered of each gfn
 *     scan_table.c   contents -> shared frame, contents -> gfn seen
 *     scan_sum.c     checksum and comparison of pages
 *
 * All state belongs to the one caller of scan_run(); no lock protects it.
 */
#pragma once

#include "shared_frame.h"

#include <quire/p2m_near.h>
#include <quire/scan.h>

/* shared_frame.scan: the scanner's marks on a record. */
#define SCAN_MADE 1         /* nominated by the scanner */
#define SCAN_KNOWN 2        /* in the stable table */

/* ---- scan_sum.c --------------------------------------------------------- */
#define SCAN_SUM_BITS 44

/** scan_sum() - a page's checksum, SCAN_SUM_BITS wide. The page may be written
 *  meanwhile: then it is that of no moment, and will not come again. */
uint64_t scan_sum(const void *page);
bool scan_equal(const void *a, const void *b);
bool scan_is_zero(const void *page);

/* ---- scan_slot.c -------------------------------------------------------- */
struct scan_slot {
    uint64_t sum : SCAN_SUM_BITS;   /* if is_known: of the last visit */
    uint64_t skip : 8;              /* passes to leave it alone */
    uint64_t age : 4;               /* the next skip is 2^age - 1 passes */
    uint64_t survived : 4;          /* passes it was found still merged */
    uint64_t is_known : 1;
    uint64_t is_merged : 1;         /* it was shared at the last visit */
};
static_assert(sizeof(struct scan_slot) == 8, "8 bytes a gfn");

#define SCAN_CHUNK 123              /* gfns: a heap object of 1008 bytes */
struct scan_chunk {
    struct list link;
    uint64_t index;                 /* gfn / SCAN_CHUNK */
    struct scan_slot slot[SCAN_CHUNK];
};
static_assert(sizeof(struct scan_chunk) == 1008, "a size class of the heap");

struct scan_member {                /* one scanned domain */
    uint64_t birth;                 /* of its p2m: ids are used again */
    struct list chunks;             /* ascending by index */
    struct list *at;                /* the one used last, or &chunks */
};

/**
 * scan_slot_at() - the slot of @gfn, not below the one asked for last in this
 * pass. Chunks passed over have no gfn any more and are freed. NULL in *@s: no
 * memory. -ERESTART: call again, there are more to free.
 */
int must_check scan_slot_at(struct scan_member *m, gfn_t gfn,
                            struct scan_slot **s);
/** scan_slots_end() - the pass is over: free those that were not reached.
 *  -ERESTART: call again. */
int must_check scan_slots_end(struct scan_member *m);
void scan_slots_init(struct scan_member *m, uint64_t birth);
/** scan_slots_free() - a few of its chunks; -ERESTART: call again. */
int must_check scan_slots_free(struct scan_member *m);

/* ---- scan_table.c ------------------------------------------------------- */
/* What must agree for two pages to be merged, and their checksum: @scope is
 * the trust group, or more narrowly one domain. */
typedef uint64_t scan_key_t;
static inline scan_key_t scan_key(uint64_t sum, uint32_t scope)
{
    return sum << (64 - SCAN_SUM_BITS) | scope;
}
#define SCAN_SCOPE_DOMAIN 0x10000u  /* | domid */
static_assert((SCAN_SCOPE_DOMAIN | 0xffff) >> (64 - SCAN_SUM_BITS) == 0,
              "the scope fits below the checksum");

struct scan_node {                  /* of the stable table */
    struct scan_node *next;         /* of its chain */
    struct list link;               /* of all nodes */
    struct shared_frame *sf;        /* a reference to the record */
    scan_key_t key;
    uint64_t birth : 63;            /* of the one domain in its scope, or 0: */
    uint64_t is_zero : 1;           /* ids are used again, forks outlive it */
};
static_assert(sizeof(struct scan_node) == 48, "48 bytes a shared frame");

struct scan_seen {                  /* of the unstable table; 0: empty */
    scan_key_t key;
    uint64_t place;                 /* domid + 1 << 48 | gfn */
};

/** scan_table_begin() - a pass begins: make what is not there yet. False: no
 *  memory for it, so there will be less to find. */
bool scan_table_begin(void);
struct scan_node *scan_stable_find(scan_key_t key);
/** scan_stable_insert() - takes over the caller's reference to @sf. NULL: no
 *  memory, the reference is still the caller's. */
struct scan_node *scan_stable_insert(scan_key_t key, uint64_t birth,
                                     struct shared_frame *sf);
void scan_stable_remove(struct scan_node *node);
/** scan_unstable_slot() - where @key is, or is to be put, whatever is there
 *  now. NULL: no memory. */
struct scan_seen *scan_unstable_slot(scan_key_t key);
/** scan_table_sweep() - forget the nodes whose frame is no longer shared. Preemptible. */
int must_check scan_table_sweep(struct work *w);
/** scan_table_free() - all of both tables. Preemptible. */
int must_check scan_table_free(struct work *w);
void scan_table_init(void);

/* ---- scan_merge.c ------------------------------------------------------- */
/**
 * scan_merge() - put @gfn, a private page of @p, onto @sf's frame, if their
 * contents are equal: compared while nobody can write. The caller has a
 * reference to @sf. -EILSEQ: not equal; -ENOEXEC: @sf's frame is no longer
 * shared; -EAGAIN: it is being merged itself, or the gfn is not what it was;
 * -E2BIG, -ENOMEM, -EOVERFLOW; -ESRCH: @p is going or has opted out. Nothing
 * has changed after an error.
 */
int must_check scan_merge(struct p2m *p, struct p2m_hint *h, gfn_t gfn,
                          struct shared_frame *sf);
/** scan_fault() - the p2m's handler of a write to ram_rw that is denied. */
p2m_fault_fn scan_fault;

/* ---- scan_page.c -------------------------------------------------------- */
struct scan_pass {                  /* counted during one pass */
    unsigned number;                /* 1 .. 15, round and round */
    uint64_t frames, gfns, firsts;  /* shared; firsts: of each domain */
    uint64_t zero_frames, zero_gfns;
    uint64_t unshared, volatiles;
};

struct scan_visit {                 /* where the scanner is */
    struct p2m *p;
    struct scan_member *m;
    gfn_t gfn;                      /* the next */
    uint32_t scope;
    mfn_t zero;                     /* the scope's frame of zeros, if any */
    struct scan_pass *pass;
    struct p2m_hint hint;           /* good for this slice */
};

/** scan_visit_begin() - a slice of visits to @p, from @gfn on. */
void scan_visit_begin(struct scan_visit *v, struct p2m *p,
                      struct scan_member *m, gfn_t gfn,
                      struct scan_pass *pass);
/**
 * scan_visit_next() - the next gfn of v->p; v->gfn moves on. 1: it was looked
 * at; 0: it was skipped; -ENOENT: there are no more; -ERESTART: nothing yet,
 * call again. *@cost is in work units.
 */
int must_check scan_visit_next(struct scan_visit *v, int64_t *cost);
void scan_visit_init(void);

/* ---- scan.c ------------------------------------------------------------- */
struct scan_totals {
    _Atomic uint64_t full_scans, pages_scanned, pages_skipped;
    _Atomic uint64_t merged, broken, unequal, no_memory;
    _Atomic uint64_t bytes;
};
extern struct scan_totals scan_totals;
