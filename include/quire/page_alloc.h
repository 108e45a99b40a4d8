/*
 * page_alloc.h - frames in power-of-two blocks: a buddy with per-CPU caches
 * of single frames in front.
 *
 * Frames come back uninitialised (poisoned in debug builds) with refs = 1.
 * NULL: no memory (or, in the host tests, an injected failure); up to
 * PAGE_CACHE_MAX frames in each other CPU's cache do not count as memory here.
 * Locks: PAGE, inside. Never preempted; O(order), plus a few instructions for
 * each frame of the block.
 */
#pragma once

#include <quire/frame_table.h>

#define PAGE_CACHE_MAX 63       /* frames in one CPU's cache */
#define PAGE_ORDER_MAX 18       /* 1 GiB */
#define PAGE_ORDER_2M 9
#define PAGE_ORDER_1G 18

/** page_alloc() - 2^@order frames for Quire itself (owner DOMID_XEN). */
struct frame *page_alloc(unsigned order, enum frame_use use);
/** page_free() - give a block of page_alloc() back, whole. */
void page_free(struct frame *f, unsigned order);
/** page_free_many() - @n single frames of one use at once, past the caches:
 *  they are not wanted again soon. */
void page_free_many(struct frame *const *f, unsigned n);
/**
 * page_alloc_owned() - 2^@order frames charged to @owner; each frame of the
 * block is then counted, typed and freed by itself (refs = 1 | ALLOCATED).
 * NULL also when the owner would pass its limit.
 */
struct frame *page_alloc_owned(domid_t owner, unsigned order);
/**
 * page_block_take() - page_alloc_owned() of a block in steps, for it is long:
 * the frames are @owner's, but each must go through page_block_set_up(), some
 * at a time, before anybody may see it. page_block_give_back() instead, whole
 * and before the first step, undoes it. @order is 2M's at least.
 */
struct frame *page_block_take(domid_t owner, unsigned order);
void page_block_set_up(struct frame *f, uint64_t nr, domid_t owner);
void page_block_give_back(struct frame *f, unsigned order, domid_t owner);
/** page_nr_free() - free frames, caches included. */
uint64_t page_nr_free(void);
/** page_cache_drain() - put this CPU's cached frames back in the buddy. */
void page_cache_drain(void);
