/*
 * pressure.h - the last frames of a machine that has run out of them.
 *
 * Some frames, the *reserve*, are only for URGENT allocations: with all other
 * memory gone the control channel still answers. And while somebody waits for
 * memory the machine is *under pressure*: what comes free is not kept in a
 * CPU's cache but given back at once, is told to whoever hands it out (CPU 0
 * is kicked, page_pressure_take_event()), and a domain's allocation leaves the
 * frames *held* for those who wait, unless it is the one they are held for.
 * Quire's own allocations leave the reserve alone.
 * Locks: none. Whoever sets pressure and hold serialises it (domain/oom.c).
 */
#pragma once

#include <quire/types.h>

enum page_need {
    PAGE_NORMAL,
    PAGE_PROMISED,      /* what is held is held for it */
    PAGE_URGENT,        /* the reserve as well */
};

#define PAGE_HOLD_ALL (UINT64_C(1) << 62)

/** page_need_set() - of this CPU's allocations until set again; the last. */
enum page_need page_need_set(enum page_need need);
/** page_reserve_set() - @frames for URGENT ones alone; 0 at first. */
void page_reserve_set(uint64_t frames);
uint64_t page_reserve(void);
/** page_pressure_set() - somebody waits. Caches are not emptied: each CPU does
 *  that itself (page_cache_drain()) once it knows. */
void page_pressure_set(bool on);
/** page_pressure_hold() - frames that domains' NORMAL allocations leave. */
void page_pressure_hold(uint64_t frames);
/** page_nr_available() - free frames that are neither in a cache nor the
 *  reserve: those that can be promised. */
uint64_t page_nr_available(void);
/** page_pressure_take_event() - whether something has come free, or an owner
 *  that waits has got room, since the last time. */
bool page_pressure_take_event(void);
/** page_pressure_take_rooms() - of the owners 64 * @i and on, those that were
 *  wanted and have got room. */
uint64_t page_pressure_take_rooms(unsigned i);
