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
#include <quire/string.h>

#define DIRECTORY_MAX 4096
#define HEADS (PAGE_SIZE / sizeof(struct scan_node *))  /* in a page */
#define WAYS 4
#define BUCKETS (PAGE_SIZE / (WAYS * sizeof(struct scan_seen)))
#define COST_NODE 30            /* units: a look */
#define COST_FREE 400           /* a node or a page */

struct directory {
    void **page;
    uint64_t nr;                /* of pages, a power of two; 0: none yet */
};
static struct directory stable, unstable;
static struct list nodes = LIST_INIT(nodes);    /* all of the stable table's */
static struct list *sweep_at = &nodes;      /* node looked at last */
static uint64_t free_at;                    /* page, when all is freed */

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

bool scan_table_begin(void)
{
    return directory_make(&stable, 4 * HEADS) &&
           directory_make(&unstable, 8 * BUCKETS);
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
            free_at = 0;        /* a page that freeing may have passed */
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

/* The checksum is a good hash by itself. */
static uint64_t hash_of(scan_key_t key)
{
    uint64_t scope = key & ((UINT64_C(1) << (64 - SCAN_SUM_BITS)) - 1);

    return (key ^ scope * UINT64_C(0x9e3779b97f4a7c15)) >>
           (64 - SCAN_SUM_BITS);
}

/* Where @key's chain begins; NULL: there is no page for it. */
static struct scan_node **head_of(scan_key_t key, bool make)
{
    uint64_t hash = hash_of(key), i;
    struct scan_node **heads;

    if (stable.nr == 0) {
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

struct scan_node *scan_stable_insert(scan_key_t key, uint64_t birth,
                                     struct shared_frame *sf)
{
    struct scan_node **head = head_of(key, true), *n;

    if (head == NULL) {
        return NULL;
    }
    n = heap_alloc(sizeof(*n));
    if (n != NULL) {
        *n = (struct scan_node){ .next = *head, .sf = sf, .key = key,
                                 .birth = birth };
        *head = n;
        list_append(&nodes, &n->link);
        atomic_fetch_or(&sf->scan, SCAN_KNOWN);
        share_count(&scan_totals.bytes, sizeof(*n));
    }
    return n;
}

void scan_stable_remove(struct scan_node *node)
{
    struct scan_node **at = head_of(node->key, false);

    while (*at != node) {
        at = &(*at)->next;
    }
    *at = node->next;
    if (sweep_at == &node->link) {
        sweep_at = node->link.prev;
    }
    list_remove(&node->link);
    atomic_fetch_and(&node->sf->scan, (uint8_t)~SCAN_KNOWN);
    shared_frame_put(node->sf);
    heap_free(node);
    share_count(&scan_totals.bytes, -(uint64_t)sizeof(*node));
}

struct scan_seen *scan_unstable_slot(scan_key_t key)
{
    uint64_t hash = hash_of(key);
    struct scan_seen *way, *free = NULL;

    if (unstable.nr == 0) {
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
    return free != NULL ? free : &way[hash >> 40 & (WAYS - 1)];
}

/* No longer shared: its record is kept by such as us alone. More than one of
 * our nodes may have it, so its references do not tell. */
static bool is_dead(const struct shared_frame *sf)
{
    return sf->link.handle == 0;
}

int scan_table_sweep(struct work *w)
{
    while (sweep_at->next != &nodes) {
        struct scan_node *n = container_of(sweep_at->next, struct scan_node,
                                           link);
        bool dead = is_dead(n->sf);

        if (dead) {
            scan_stable_remove(n);
        } else {
            sweep_at = &n->link;
        }
        if (work_spend(w, dead ? COST_FREE : COST_NODE)) {
            return -ERESTART;
        }
    }
    sweep_at = &nodes;
    return 0;
}

int scan_table_free(struct work *w)
{
    while (!list_is_empty(&nodes)) {
        scan_stable_remove(container_of(nodes.next, struct scan_node, link));
        if (work_spend(w, COST_FREE)) {
            return -ERESTART;
        }
    }
    while (free_at < stable.nr + unstable.nr) {
        uint64_t i = free_at++;

        if (i < stable.nr) {
            page_drop(&stable, i);
        } else {
            page_drop(&unstable, i - stable.nr);
        }
        if (work_spend(w, COST_FREE)) {
            return -ERESTART;
        }
    }
    free_at = 0;
    directory_free(&stable);
    directory_free(&unstable);
    return 0;
}

void scan_table_init(void)
{
    stable = unstable = (struct directory){ NULL, 0 };
    list_init(&nodes);
    sweep_at = &nodes;
    free_at = 0;
}
