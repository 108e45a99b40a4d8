/*
 * oom.c - parking vCPUs that wait for memory, and handing it out again.
 *
 *     fault, no frame --> oom_park() --> machine queue --+
 *                              |                         | frames free?
 *                              +------> domain's queue --+ room below limit?
 *                                                        v
 *     done <-- write again <-- runs <-- promised --- pump, a task on CPU 0
 *               |                          |
 *               +--> no frame: parks,      +--> not used in time: taken back
 *                    first in its queue, until there are twice as many or
 *                    some time has passed
 *
 * The pump runs when a vCPU parks and when something has come free
 * (page_pressure_take_event()). No wake-up is lost: a frame that came free
 * before its CPU knew of the pressure is in that CPU's cache or seen by the
 * pump that follows the drain of that very CPU; one that comes free later
 * raises the event.
 */
#include <quire/arch.h>
#include <quire/domain.h>
#include <quire/heap.h>
#include <quire/lock.h>
#include <quire/oom.h>
#include <quire/owner.h>
#include <quire/page_alloc.h>
#include <quire/panic.h>
#include <quire/pressure.h>

#include "oom_queue.h"

#define COST_WAKE 400           /* units: one vCPU looked at, or woken */
#define PROMISE_MS 200          /* a promise lasts: many turns of its CPU */
#define RETRY_MS 10             /* one frame was too little: how soon again */
#define NEED_MAX 8              /* frames; one write needs no more */

struct oom oom = { .lock = SPINLOCK_INIT(OOM, 0) };

static struct task pump, drains[MAX_CPUS];     /* set up by oom_init() */
static _Atomic bool pump_queued, drain_queued[MAX_CPUS];

void oom_request(void)
{
    if (!atomic_exchange(&pump_queued, true)) {
        task_queue(&pump, 0);
    }
}

void oom_poll(void)
{
    if (page_pressure_take_event()) {
        oom_request();
    }
}

static int run_drain(struct task *t, struct work *w)
{
    (void)w;
    atomic_store(&drain_queued[t - drains], false);
    heap_cache_drain();
    page_cache_drain();
    oom_request();
    return 0;
}

/* Every CPU gives back what it has kept for itself. */
static void start_drains(void)
{
    for (unsigned cpu = 0; cpu < arch_nr_cpus(); cpu++) {
        if (!atomic_exchange(&drain_queued[cpu], true)) {
            task_queue(&drains[cpu], cpu);
        }
    }
}

void oom_hold(void)
{
    page_pressure_hold(list_is_empty(&oom.machine) ? oom.held
                                                   : PAGE_HOLD_ALL);
}

/* Somebody waits from now on. True: nobody did. [oom] */
static bool press(void)
{
    bool is_new = !oom.is_pressed;

    oom.is_pressed = true;
    page_pressure_set(true);
    return is_new;
}

/* It is promised nothing any more. [oom] */
static void unpromise(struct vcpu *v)
{
    list_remove(&v->oom.link);
    oom.held -= v->oom.need;
    oom.nr_promised--;
    atomic_store(&v->oom.state, OOM_NONE);
}

/* Into the queue for what it lacks, before those that are there if it was
 * first already: in its domain's, in the machine's. [oom] */
static void enqueue(struct vcpu *v, bool was_first, bool was_machine_first)
{
    struct domain *d = v->domain;
    struct owner *o = owner_get(d->id);
    bool is_limit = !v->oom.is_shadows &&
                    atomic_load(&o->pages) >= atomic_load(&o->max_pages);
    struct list *to = is_limit ? &d->oom.waiters : &oom.machine;

    if (is_limit ? was_first : was_machine_first) {
        list_push(to, &v->oom.link);
    } else {
        list_append(to, &v->oom.link);
    }
    atomic_store(&v->oom.state, is_limit ? OOM_LIMIT : OOM_MACHINE);
    if (is_limit) {
        owner_set_wanted(d->id, true);
    }
    oom_hold();
}

static ticks_t after_ms(unsigned ms)
{
    return arch_now() + arch_tick_hz() / 1000 * ms;
}

void oom_wait(struct vcpu *v, gfn_t gfn)
{
    struct domain *d = v->domain;
    bool is_again, is_limit, is_new;

    spin_lock(&oom.lock);
    is_new = press();
    is_again = atomic_load(&v->oom.state) == OOM_PROMISED;
    if (is_again) {
        unpromise(v);
        v->oom.until = v->oom.need != 0 ? after_ms(RETRY_MS) : 0;
    } else {
        v->oom.need = 0;
        v->oom.until = 0;
        v->oom.since = arch_now();
        oom.stats.parks++;
        atomic_fetch_add(&d->oom.parks, 1);
    }
    v->oom.gfn = gfn;
    vcpu_pause_nosync(v);
    /* One that was only promised room has no place in the machine's queue. */
    enqueue(v, is_again, v->oom.need != 0);
    v->oom.need = MIN(MAX(2 * v->oom.need, 1u), (unsigned)NEED_MAX);
    is_limit = atomic_load(&v->oom.state) == OOM_LIMIT;
    oom.nr_waiting++;
    atomic_fetch_add(&d->oom.nr_parked, 1);
    spin_unlock(&oom.lock);
    if (!is_again) {
        oom_notice(v, NOTICE_OOM_WAIT, is_limit, 0);
    }
    if (is_new) {
        start_drains();
    }
    oom_request();
}

/* Out of its queue, or of none. [oom] */
static void stop_waiting(struct vcpu *v)
{
    if (atomic_load(&v->oom.state) == OOM_STALLED) {
        oom.nr_stalled--;
    } else {
        list_remove(&v->oom.link);
    }
    oom.nr_waiting--;
    atomic_fetch_sub(&v->domain->oom.nr_parked, 1);
}

/* It runs again, @need frames held for it. [oom] */
static void promise(struct vcpu *v, unsigned need)
{
    stop_waiting(v);
    v->oom.need = need;
    v->oom.until = after_ms(PROMISE_MS);
    oom.held += need;
    oom.nr_promised++;
    list_append(&oom.promised, &v->oom.link);
    atomic_store(&v->oom.state, OOM_PROMISED);
    oom_hold();
    vcpu_unpause(v);
}

/* Whether somebody else pauses it too: then its turn comes after that. [oom]
 * vcpu_unpause() lowers the count first and then looks at the state. */
static bool stall(struct vcpu *v)
{
    int state = atomic_load(&v->oom.state);

    if (atomic_load(&v->pause_count) == 1) {
        return false;
    }
    atomic_store(&v->oom.state, OOM_STALLED);
    if (atomic_load(&v->pause_count) == 1) {
        atomic_store(&v->oom.state, state);
        return false;
    }
    list_remove(&v->oom.link);
    oom.nr_stalled++;
    oom_hold();
    return true;
}

static struct vcpu *first_of(const struct list *l)
{
    return list_is_empty(l) ? NULL
                            : container_of(l->next, struct vcpu, oom.link);
}

/* Promises not used in time. [oom] */
static void expire(ticks_t now)
{
    struct vcpu *v;

    while ((v = first_of(&oom.promised)) != NULL && v->oom.until <= now) {
        unpromise(v);
        oom.stats.lapsed++;
        oom_hold();
        oom_notice(v, NOTICE_OOM_LAPSE, false, 0);
    }
}

/* As many as @d has room for. Preemptible: true when the slice is over. */
static bool wake_limited(struct domain *d, struct work *w)
{
    struct owner *o = owner_get(d->id);
    uint64_t pages = atomic_load(&o->pages), max = atomic_load(&o->max_pages);
    uint64_t room = max > pages ? max - pages : 0;
    bool is_over = false;
    struct vcpu *v;

    while (!is_over && room > 0 &&
           (v = first_of(&d->oom.waiters)) != NULL) {
        if (!stall(v)) {
            promise(v, 0);
            room--;
        }
        is_over = work_spend(w, COST_WAKE);
    }
    if (list_is_empty(&d->oom.waiters)) {
        owner_set_wanted(d->id, false);
    }
    return is_over;
}

/* The owners that got room. @oom.rooms is what is left of the last look. */
static bool wake_rooms(struct work *w)
{
    for (; oom.word < MAX_DOMAINS / 64; oom.word++, oom.rooms = 0) {
        oom.rooms |= page_pressure_take_rooms(oom.word);
        while (oom.rooms != 0) {
            unsigned bit = (unsigned)__builtin_ctzll(oom.rooms);
            struct domain *d = owner_domain((domid_t)(oom.word * 64 + bit));

            if (d != NULL && wake_limited(d, w)) {
                return true;
            }
            oom.rooms &= oom.rooms - 1;
        }
    }
    oom.word = 0;
    return false;
}

/* Whom the free frames reach, in the order of arrival. The first is waited
 * for: nobody passes it by needing less. */
static bool wake_machine(ticks_t now, struct work *w)
{
    bool is_over = false;
    struct vcpu *v;

    while (!is_over && (v = first_of(&oom.machine)) != NULL) {
        uint64_t have = page_nr_available(), spare;

        if (!stall(v)) {
            spare = have > oom.held ? have - oom.held : 0;
            if (spare == 0 || (v->oom.until > now &&
                               (spare < v->oom.need ||
                                v->oom.need == NEED_MAX))) {
                break;
            }
            promise(v, (unsigned)MIN(v->oom.need, spare));
        }
        is_over = work_spend(w, COST_WAKE);
    }
    return is_over;
}

/* When something ends by itself: a promise, or the first one's wait for more
 * than one frame. [oom] */
static void set_timer(ticks_t now)
{
    struct vcpu *promised = first_of(&oom.promised);
    struct vcpu *waiting = first_of(&oom.machine);
    ticks_t when = UINT64_MAX;

    if (promised != NULL) {
        when = promised->oom.until;
    }
    if (waiting != NULL && waiting->oom.until > now) {
        when = MIN(when, waiting->oom.until);
    }
    if (when != UINT64_MAX) {
        timer_set(&oom.timer, when);
    }
}

static int run_pump(struct task *t, struct work *w)
{
    ticks_t now = arch_now();
    bool is_over;

    (void)t;
    atomic_store(&pump_queued, false);
    spin_lock(&oom.lock);
    expire(now);
    is_over = wake_rooms(w) || wake_machine(now, w);
    set_timer(now);
    if (oom.nr_waiting == oom.nr_stalled && oom.nr_promised == 0) {
        oom.is_pressed = false;
        page_pressure_set(false);
    }
    spin_unlock(&oom.lock);
    if (is_over) {
        oom_request();
    }
    return 0;
}

static void timer_fired(struct timer *t)
{
    (void)t;
    oom_request();
}

void oom_done(struct vcpu *v)
{
    ticks_t took = 0;
    bool is_done;

    spin_lock(&oom.lock);
    is_done = atomic_load(&v->oom.state) == OOM_PROMISED;
    if (is_done) {
        took = arch_now() - v->oom.since;
        unpromise(v);
        oom_hold();
        oom.stats.resumes++;
        oom.stats.longest = MAX(oom.stats.longest, took);
        atomic_fetch_add(&v->domain->oom.resumes, 1);
    }
    spin_unlock(&oom.lock);
    if (is_done) {
        page_need_set(PAGE_NORMAL);
        oom_notice(v, NOTICE_OOM_RESUME, false, took);
        oom_request();
    }
}

void oom_unstall(struct vcpu *v)
{
    bool is_stalled, is_new = false;

    spin_lock(&oom.lock);
    is_stalled = atomic_load(&v->oom.state) == OOM_STALLED;
    if (is_stalled) {
        is_new = press();
        oom.nr_stalled--;
        enqueue(v, true, true);
    }
    spin_unlock(&oom.lock);
    if (is_new) {
        start_drains();
    }
    if (is_stalled) {
        oom_request();
    }
}

void oom_forget(struct domain *d)
{
    bool is_pressed;

    spin_lock(&oom.lock);
    for (unsigned i = 0; i < d->nr_vcpus; i++) {
        struct vcpu *v = d->vcpus[i];
        int state = atomic_load(&v->oom.state);

        if (state == OOM_PROMISED) {
            unpromise(v);
        } else if (state != OOM_NONE) {
            stop_waiting(v);
            atomic_store(&v->oom.state, OOM_NONE);
        }
    }
    owner_set_wanted(d->id, false);
    oom_hold();
    is_pressed = oom.is_pressed;
    spin_unlock(&oom.lock);
    if (is_pressed) {
        oom_request();
    }
}

void oom_init(void)
{
    spin_lock_init(&oom.lock, LOCK_RANK_OOM, 0);
    list_init(&oom.machine);
    list_init(&oom.promised);
    oom.nr_waiting = oom.nr_stalled = oom.nr_promised = 0;
    oom.held = oom.rooms = 0;
    oom.word = 0;
    oom.is_pressed = false;
    oom.stats = (struct oom_stats){ 0 };
    timer_init(&oom.timer, 0, timer_fired);
    /* A host test's second machine may find them queued still. */
    pump.run = run_pump;
    pump.name = "oom";
    for (unsigned cpu = 0; cpu < MAX_CPUS; cpu++) {
        drains[cpu].run = run_drain;
        drains[cpu].name = "drain";
    }
}
