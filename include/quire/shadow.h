/*
 * shadow.h - shadow paging: Quire's own page tables for a guest that runs
 * with nested paging off, made from the guest's tables as it faults.
 *
 * One struct shadow per p2m, made before its vCPUs and destroyed after them;
 * one struct shadow_vcpu in each vCPU. The processor walks shadow pages of
 * the PAE or 4-level form whatever the guest's mode; their entries (sptes)
 * hold at most the rights that the guest's entries, their dirty bits and the
 * p2m give. A change of the p2m takes back the sptes of its gfns through the
 * reverse map (a p2m listener), before the change's flush.
 *
 * The world switch, with shadow paging:
 *     do {
 *         err = shadow_is_stale(sv) ? shadow_load(s, sv, &pg, w) : 0;
 *         generation = p2m_guest_enter(p2m);   and from here on kicks end it
 *     } while (shadow_is_stale(sv) && (p2m_guest_leave(), true));
 *     VMCB CR3 = shadow_cr3(sv); CR0 |= PG | WP; CR4 |= PAE unless LMA;
 *     EFER as the guest's, with NXE; CR4 without PAE's, SMEP and SMAP as the
 *     guest's if its CR0.PG is set, clear otherwise; no PCID, no LA57.
 * A new generation means a new ASID, as with nested paging. A CR3 load, a
 * change of a paging bit of CR0, CR4 or EFER: the vCPU's own translations
 * are flushed, then shadow_load(). INVLPG: shadow_invlpg(), then this CPU's
 * translation of that address, or all of them if it says so. #PF:
 * shadow_fault(), with no access to guest memory under way. RETRY may mean
 * that the root is stale: so by the loop above in any case.
 *
 * Locks: SHADOW, inside; it is taken under the p2m's lock by the listener.
 */
#pragma once

#include <quire/guest_walk.h>
#include <quire/p2m.h>
#include <quire/spte_rmap.h>

#define SHADOW_PAGES_MIN 64     /* what one instruction may need, and more */
#define SHADOW_PAGES_MAX (1u << 18)

struct shadow;
struct shadow_page;

/** shadow_init() - once at boot: keep a few pages below 4 GiB. */
void shadow_init(void);

struct shadow_vcpu {
    struct shadow_page *root;   /* [shadow]; its own CPU's to read */
    struct shadow_page *top;    /* (c) level 3, of 4 entries: no long mode */
    uint64_t cr0, cr4, efer;    /* at the last load; its own CPU's */
};

enum shadow_result {
    SHADOW_RETRY,       /* run the instruction (again) */
    SHADOW_INJECT,      /* #PF, the error code filled in; CR2 = the address */
    SHADOW_P2M,         /* npf filled in: as if a nested page fault */
    SHADOW_EMULATE,     /* carry the instruction out by software */
    SHADOW_NOMEM,       /* no memory; nothing lost: park and try again */
};

/* What happened so far. [shadow] to write, (a) to read. */
struct shadow_stats {
    _Atomic uint64_t hidden;        /* faults the guest never saw */
    _Atomic uint64_t injected;      /* faults that were its own */
    _Atomic uint64_t p2m;           /* faults that the p2m decides */
    _Atomic uint64_t emulated;      /* writes that no spte could allow */
    _Atomic uint64_t unsyncs;       /* tables let go out of sync */
    _Atomic uint64_t syncs;         /* and looked at again */
    _Atomic uint64_t reclaims;      /* pages taken back to make room */
    _Atomic uint64_t drops;         /* tables given up: written, not used */
    _Atomic uint64_t zaps;          /* sptes and links emptied again */
    _Atomic uint64_t flushes;       /* of every CPU, for a shadow's sake */
};

/**
 * shadow_create() - for @p, which gets a listener and a reference taken. At
 * most @limit shadow pages (SHADOW_PAGES_MIN .. _MAX), two frames each.
 * @phys_bits: the guest's MAXPHYADDR. NULL: no memory.
 */
struct shadow *shadow_create(struct p2m *p, unsigned limit,
                             unsigned phys_bits);
/** shadow_destroy() - no vCPU has it any more and none runs. Preemptible; 0:
 *  it is gone. */
int must_check shadow_destroy(struct shadow *s, struct work *w);

/** shadow_vcpu_init() - -ENOMEM: nothing done. */
int must_check shadow_vcpu_init(struct shadow *s, struct shadow_vcpu *sv);
void shadow_vcpu_fini(struct shadow *s, struct shadow_vcpu *sv);

/**
 * shadow_load() - the guest flushes: tables out of sync are compared with the
 * guest's, then the root for @pg is found or made. Preemptible (-ERESTART:
 * again before the guest goes on, a CR write executed again); -ENOMEM.
 */
int must_check shadow_load(struct shadow *s, struct shadow_vcpu *sv,
                           const struct guest_paging *pg, struct work *w);
/** shadow_is_stale() - shadow_load() is needed before the guest may run. */
bool shadow_is_stale(const struct shadow_vcpu *sv);
/** shadow_cr3() - machine address for the processor's CR3; below 4 GiB where
 *  the guest is not in long mode. */
maddr_t shadow_cr3(const struct shadow_vcpu *sv);
/**
 * shadow_invlpg() - the guest's INVLPG of @gva. 0: this CPU's translation of
 * @gva is to be flushed; 1: all of this vCPU's, for large pages are shadowed
 * in pieces. Preemptible (-ERESTART: the instruction is executed again).
 */
int must_check shadow_invlpg(struct shadow *s, struct shadow_vcpu *sv,
                             const struct guest_paging *pg, gva_t gva,
                             struct work *w);
/**
 * shadow_fault() - the processor's #PF at @gva with @error.
 * @npf is filled for SHADOW_P2M (a table's entry: in_walk), *@pf_error for
 * SHADOW_INJECT. Bounded: what would take long ends in SHADOW_RETRY, part of
 * it done.
 */
enum shadow_result shadow_fault(struct shadow *s, struct shadow_vcpu *sv,
                                const struct guest_paging *pg, gva_t gva,
                                uint32_t error, struct npf *npf,
                                uint32_t *pf_error);
/** shadow_written() - Quire itself has written to @gfn, past the rights of
 *  the guest's sptes. */
void shadow_written(struct shadow *s, gfn_t gfn);
/**
 * shadow_prepare_change() - make a later change of @gfn in the p2m short, if
 * it is mapped very often. Preemptible; without the p2m's lock.
 */
int must_check shadow_prepare_change(struct shadow *s, gfn_t gfn,
                                     struct work *w);

/** shadow_stats() - never NULL. */
const struct shadow_stats *shadow_stats(const struct shadow *s);
/** shadow_nr_pages() - in use; those being emptied included. */
unsigned shadow_nr_pages(const struct shadow *s);
/** shadow_bytes() - pages, links, heads, records. */
uint64_t shadow_bytes(const struct shadow *s);

/* What a shadow has now. */
struct shadow_info {
    unsigned limit, pages;          /* of the pool; in use, as above */
    unsigned by_level[4];           /* live ones: [0] maps pages */
    unsigned unsync;                /* tables that the guest may write */
    unsigned dying;                 /* on the way out, not emptied yet */
    uint64_t bytes;
};
/** shadow_info() - in one go: a moment's truth. */
void shadow_info(struct shadow *s, struct shadow_info *info);

struct shadow_audit {
    unsigned bad;               /* violations */
    /* private to audit.c */
    bool is_begun, has_parents;
    unsigned pass, restarts, slot;
    const struct shadow_page *page;
    struct spte_rmap_audit chain;
    uint64_t cursor, changes, pages, on_chains, present, on_parents,
             linked, unsync;
};
/**
 * shadow_audit_run() - H1 to H4: each chain is whole (spte_rmap_audit());
 * H5 each present leaf spte is on exactly one chain, that of a gfn the p2m
 * maps to its frame; H6 likewise each link, on its child's; H7 no writable
 * spte to a table in sync, nor where the p2m forbids writes; H8 an spte of a
 * table in sync has no right and no frame that the guest's entry does not
 * give; H9 hash, lists and counts agree.
 * Preemptible; zero *@a first. Returns 0 when done, violations in @a->bad,
 * each printed. Starts again, a few times, if there are changes meanwhile.
 */
int must_check shadow_audit_run(struct shadow_audit *a, struct shadow *s,
                                struct work *w);
/** shadow_audit() - the same in one go; returns the violations. */
unsigned shadow_audit(struct shadow *s);
