/*
 * scan.h - the content scanner: finds equal pages of the domains that have
 * opted in, and merges them. Linux's KSM, for guests.
 *
 * One pass (a *full scan*) visits every populated gfn of every scanned domain
 * in order. A page whose checksum has not changed since the last pass is
 * looked for among the frames that are shared already (stable) and the pages
 * seen elsewhere (unstable), and merged once the contents compare equal under
 * write protection. What changes is visited more and more rarely.
 *
 * scan_run() is the whole of it, a slice at a time; common/domain/
 * scan_task.c runs it in the background. It has one caller at a time; all the
 * other functions may be called from any CPU at any time. No lock is held
 * between slices, and no map is kept alive: a domain may be killed at any
 * time. Out of memory the scanner finds less, and nothing else happens.
 */
#pragma once

#include <quire/p2m.h>

enum scan_mode {
    SCAN_STOP,      /* what is merged stays */
    SCAN_RUN,
    SCAN_UNMERGE,   /* stop, and make every merged page private again */
};

/* KSM's names. Set by the control channel, read by the scanner. */
struct scan_knobs {
    _Atomic uint64_t run;               /* enum scan_mode; scan_set_run() */
    _Atomic uint64_t pages_to_scan;     /* visits between two sleeps */
    _Atomic uint64_t sleep_millisecs;
    _Atomic uint64_t merge_across_domains;  /* 0: only within one */
};
extern struct scan_knobs scan_knobs;

/* As of the last full scan, but for the running totals. A zero page's frame
 * is counted by zero_*, not by pages_*. */
struct scan_stats {
    uint64_t pages_shared;      /* shared frames that scanned gfns map */
    uint64_t pages_sharing;     /* gfns on them, beyond the first each */
    uint64_t pages_unshared;    /* checked, unchanged, like no other */
    uint64_t pages_volatile;    /* changed since, or skipped for that */
    uint64_t zero_pages;        /* gfns on a frame of zeros */
    uint64_t saved_zero, saved_within, saved_across;    /* frames */
    uint64_t full_scans, pages_scanned, pages_skipped;  /* totals */
    uint64_t merged, broken, unequal, no_memory;        /* totals */
    uint64_t bytes;             /* memory of the scanner's own, now */
    int64_t general_profit;     /* bytes saved less bytes used */
    bool is_idle;               /* run is 0 or 2, and all done */
    bool unmerge_failed;        /* no memory: some stayed merged */
};

/** scan_init() - once, by share_init(). */
void scan_init(void);
/**
 * scan_run() - do what scan_knobs.run says. Preemptible. 0: enough for now:
 * pages_to_scan visited, a pass over, or nothing (left) to do.
 */
int must_check scan_run(struct work *w);
/** scan_set_run() - set scan_knobs.run. SCAN_UNMERGE after one that had no
 *  memory for all (unmerge_failed) begins another. */
void scan_set_run(enum scan_mode mode);
/** scan_has_work() - whether scan_run() is to be called again, after
 *  sleep_millisecs. */
bool scan_has_work(void);
void scan_stats_get(struct scan_stats *s);

/** scan_domain_add() - @p opts in. */
void scan_domain_add(struct p2m *p);
/** scan_domain_remove() - it opts out: nothing more of it is merged. What was
 *  merged stays until scan_unmerge(). */
void scan_domain_remove(struct p2m *p);
/**
 * scan_unmerge() - make what the scanner merged in @p private, from *@cursor
 * on. Not pages it put onto a frame that the toolstack had shared. -ENOMEM:
 * the gfn at *@cursor and those after it stay merged. Preemptible.
 */
int must_check scan_unmerge(struct p2m *p, gfn_t *cursor, struct work *w);
