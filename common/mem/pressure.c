/*
 * pressure.c - what is different while somebody waits for memory; see
 * quire/pressure.h.
 *
 *     a frame comes free --> this CPU's cache --> the buddy --> event, kick 0
 *     an owner's count falls --> is it wanted? --> its bit, event, kick 0
 *
 * It may come free under any lock, so nothing here takes one but the buddy's.
 */
#include "internal.h"

#include <quire/errno.h>
#include <quire/pressure.h>

struct pressure pressure;

/* Owners that were wanted and have got room. */
static _Atomic uint64_t rooms[MAX_DOMAINS / 64];
static _Atomic bool has_event;

static void raise_event(void)
{
    if (!atomic_exchange(&has_event, true)) {
        arch_kick(0);
    }
}

void pressure_init(void)
{
    page_pressure_set(false);
    page_pressure_hold(0);
    page_reserve_set(0);
    atomic_store(&has_event, false);
    for (unsigned i = 0; i < ARRAY_SIZE(rooms); i++) {
        atomic_store(&rooms[i], 0);
    }
}

slow_path void pressure_freed(domid_t owner)
{
    page_cache_drain();
    if (owner < MAX_DOMAINS && atomic_load(&owners[owner].is_wanted)) {
        atomic_fetch_or(&rooms[owner / 64], UINT64_C(1) << owner % 64);
    }
    raise_event();
}

void page_reserve_set(uint64_t frames)
{
    atomic_store(&pressure.reserve, frames);
}

uint64_t page_reserve(void)
{
    return atomic_load(&pressure.reserve);
}

void page_pressure_set(bool on)
{
    atomic_store(&pressure.on, on);
}

void page_pressure_hold(uint64_t frames)
{
    atomic_store(&pressure.held, frames);
}

uint64_t page_nr_available(void)
{
    uint64_t free = buddy_nr_free(), reserve = page_reserve();

    return free > reserve ? free - reserve : 0;
}

bool page_pressure_take_event(void)
{
    return atomic_load_explicit(&has_event, memory_order_relaxed) &&
           atomic_exchange(&has_event, false);
}

uint64_t page_pressure_take_rooms(unsigned i)
{
    return atomic_load(&rooms[i]) != 0 ? atomic_exchange(&rooms[i], 0) : 0;
}

void owner_set_wanted(domid_t id, bool wanted)
{
    atomic_store(&owners[id].is_wanted, wanted);
    /* What it got before that was not told. */
    if (wanted && atomic_load(&owners[id].pages) <
                  atomic_load(&owners[id].max_pages)) {
        atomic_fetch_or(&rooms[id / 64], UINT64_C(1) << id % 64);
    }
}

int owner_set_max(domid_t id, uint64_t max_pages)
{
    if (id >= MAX_DOMAINS || !atomic_load(&owners[id].claimed)) {
        return -ESRCH;
    }
    atomic_store(&owners[id].max_pages, max_pages);
    if (atomic_load(&pressure.on)) {
        pressure_freed(id);
    }
    return 0;
}
