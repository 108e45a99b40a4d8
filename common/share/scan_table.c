/*
 * scan_table.c - contents to place.
 *
 *   stable     checksum -> shared frame. Their pages cannot change, so an
 *              entry is right as long as the frame is shared. A chained hash;
 *              nodes on the heap.
 *   unstable   checksum -> gfn where it was seen. A guess, checked by whoever
 *              uses it, so it may be overwritten at any time: buckets of four
 *              of which a newcomer takes an empty one or any.
 *
 * Both are arrays of pages that come with their first entry. Their number is
 * bounded by the machine's memory: 0.05% and 0.2% of it.
 */
#include "scanner.h"

#include <quire/heap.h>
#include <quire/rng.h>
#include <quire/string.h>

#define DIRECTORY_MAX 4096
#define HEADS (PAGE_SIZE / sizeof(struct scan_node *))  /* in a page */
#define WAYS 4
#define BUCKETS (PAGE_SIZE / (WAYS * sizeof(struct scan_seen)))
#define COST_BUCKET 6           /* units */
#define COST_NODE 80
#define COST_PAGE 100

struct directory {
    void **page;
    uint64_t nr;                /* of pages, a power of two; 0: none yet */
};
static struct directory stable, unstable;
static uint64_t sweep_at;       /* bucket of the stable table, then page */
static bool sweep_all;          /* of everything: what sweep_at belongs to */

/* One entry of @dir for each @share frames of the machine or more. */
static bool directory_make(struct directory *dir, uint64_t share)
{
    struct mem_totals t;

    if (dir->nr != 0) {
        return true;
    }
    mem_totals_get(&t);
    dir->nr = 1;
    while (dir->nr * share < t.total && dir->nr < DIRECTORY_MAX) {
        dir->nr *= 2;
    }
    dir->page = heap_zalloc(dir->nr * sizeof(void *));
    if (dir->page == NULL) {
        dir->nr = 0;
        return false;
    }
    share_count(&scan_totals.bytes, dir->nr * sizeof(void *));
    return true;
}

static void directory_free(struct directory *dir)
{
    heap_free(dir->page);
    share_count(&scan_totals.bytes, -(dir->nr * sizeof(void *)));
    *dir = (struct directory){ NULL, 0 };
}

/* The page @i, made if need be. NULL: no memory. */
static void *page_of(struct directory *dir, uint64_t i)
{
    if (dir->page[i] == NULL) {
        dir->page[i] = heap_alloc(PAGE_SIZE);
        if (dir->page[i] != NULL) {
            page_zero(dir->page[i]);
            share_count(&scan_totals.bytes, PAGE_SIZE);
        }
    }
    return dir->page[i];
}

static void page_drop(struct directory *dir, uint64_t i)
{
    if (dir->page[i] != NULL) {
        heap_free(dir->page[i]);
        dir->page[i] = NULL;
        share_count(&scan_totals.bytes, -PAGE_SIZE);
    }
}

/* Where @key's chain begins; NULL: there is no page for it. */
static struct scan_node **head_of(scan_key_t key, bool make)
{
    uint64_t hash = mix64(key), i;
    struct scan_node **heads;

    if (stable.nr == 0 && !(make && directory_make(&stable, 4 * HEADS))) {
        return NULL;
    }
    i = hash / HEADS & (stable.nr - 1);
    heads = make ? page_of(&stable, i) : stable.page[i];
    return heads == NULL ? NULL : &heads[hash % HEADS];
}

struct scan_node *scan_stable_find(scan_key_t key)
{
    struct scan_node **head = head_of(key, false), *n;

    if (head == NULL) {
        return NULL;
    }
    for (n = *head; n != NULL && n->key != key; n = n->next) {
        continue;
    }
    return n;
}

struct scan_node *scan_stable_insert(scan_key_t key, struct shared_frame *sf)
{
    struct scan_node **head = head_of(key, true), *n;

    if (head == NULL) {
        return NULL;
    }
    n = heap_alloc(sizeof(*n));
    if (n != NULL) {
        *n = (struct scan_node){ .next = *head, .sf = sf, .key = key };
        *head = n;
        atomic_fetch_or(&sf->scan, SCAN_KNOWN);
        share_count(&scan_totals.bytes, sizeof(*n));
    }
    return n;
}

static void unlink_node(struct scan_node **at)
{
    struct scan_node *n = *at;

    *at = n->next;
    atomic_fetch_and(&n->sf->scan, (uint8_t)~SCAN_KNOWN);
    shared_frame_put(n->sf);
    heap_free(n);
    share_count(&scan_totals.bytes, -(uint64_t)sizeof(*n));
}

void scan_stable_remove(struct scan_node *node)
{
    struct scan_node **at = head_of(node->key, false);

    while (*at != node) {
        at = &(*at)->next;
    }
    unlink_node(at);
}

struct scan_seen *scan_unstable_slot(scan_key_t key)
{
    uint64_t hash = mix64(key ^ UINT64_C(0x5851f42d4c957f2d));
    struct scan_seen *way, *free = NULL;

    if (!directory_make(&unstable, 8 * BUCKETS)) {
        return NULL;
    }
    way = page_of(&unstable, hash / BUCKETS & (unstable.nr - 1));
    if (way == NULL) {
        return NULL;
    }
    way += hash % BUCKETS * WAYS;
    for (unsigned i = 0; i < WAYS; i++) {
        if (way[i].place != 0 && way[i].key == key) {
            return &way[i];
        }
        if (way[i].place == 0) {
            free = &way[i];
        }
    }
    return free != NULL ? free : &way[hash >> 62];
}

/* Once it is not, it never is again. */
static bool is_shared(struct shared_frame *sf)
{
    bool shared;

    spin_lock(&sf->lock);
    shared = sf->link.handle != 0;
    spin_unlock(&sf->lock);
    return shared;
}

/* Walk one bucket; how many nodes there were. */
static unsigned sweep_bucket(struct scan_node **at, bool all)
{
    unsigned nr = 0;

    while (*at != NULL) {
        nr++;
        if (all || !is_shared((*at)->sf)) {
            unlink_node(at);
        } else {
            at = &(*at)->next;
        }
    }
    return nr;
}

static int sweep_stable(bool all, struct work *w)
{
    while (sweep_at < stable.nr * HEADS) {
        struct scan_node **heads = stable.page[sweep_at / HEADS];
        int64_t cost = COST_BUCKET;

        if (heads == NULL) {
            sweep_at += HEADS;
        } else {
            cost += COST_NODE * sweep_bucket(&heads[sweep_at % HEADS], all);
            sweep_at++;
            if (sweep_at % HEADS == 0 && all) {
                page_drop(&stable, sweep_at / HEADS - 1);
                cost += COST_PAGE;
            }
        }
        if (work_spend(w, cost)) {
            return -ERESTART;
        }
    }
    return 0;
}

/* The stable table is empty; then go its directory, the unstable one's pages
 * and its directory. */
static int free_pages(struct work *w)
{
    uint64_t first = stable.nr * HEADS;

    while (sweep_at < first + unstable.nr) {
        page_drop(&unstable, sweep_at++ - first);
        if (work_spend(w, COST_PAGE)) {
            return -ERESTART;
        }
    }
    directory_free(&unstable);
    directory_free(&stable);
    return 0;
}

int scan_table_sweep(bool all, struct work *w)
{
    int err;

    if (all != sweep_all) {
        sweep_all = all;
        sweep_at = 0;
    }
    err = sweep_stable(all, w);
    if (err == 0 && all) {
        err = free_pages(w);
    }
    if (err == 0) {
        sweep_at = 0;
    }
    return err;
}

void scan_table_init(void)
{
    stable = unstable = (struct directory){ NULL, 0 };
    sweep_at = 0;
}
