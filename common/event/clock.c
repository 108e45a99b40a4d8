/*
 * clock.c - ticks and nanoseconds.
 *
 * The hypervisor converts with the very formula that a guest applies to its
 * vcpu_time_info, ns = (ticks << shift) * mul >> 32, so that a deadline which
 * a guest computes means the same instant on both sides.
 */
#include <quire/arch.h>
#include <quire/event.h>

#define NS_PER_S UINT64_C(1000000000)

static uint32_t scale_mul;
static int8_t scale_shift;
static uint64_t hz;

void clock_init(void)
{
    uint64_t ticks = arch_tick_hz();

    hz = ticks;
    scale_shift = 0;
    /* mul = 2^32 * 1e9 / ticks must lie in [2^31, 2^32). */
    while (ticks > 2 * NS_PER_S) {
        ticks >>= 1;
        scale_shift--;
    }
    while (ticks <= NS_PER_S) {
        ticks <<= 1;
        scale_shift++;
    }
    scale_mul = (uint32_t)((NS_PER_S << 32) / ticks);
}

uint64_t clock_ns(ticks_t t)
{
    t = scale_shift < 0 ? t >> -scale_shift : t << scale_shift;
    return (uint64_t)((unsigned __int128)t * scale_mul >> 32);
}

static ticks_t ns_to_ticks(uint64_t ns)
{
    return ns / NS_PER_S * hz + ns % NS_PER_S * hz / NS_PER_S;
}

ticks_t clock_ticks(uint64_t ns)
{
    if (ns / NS_PER_S >= UINT64_C(1) << 30) {
        return UINT64_MAX;      /* 34 years from now */
    }
    /* The multiplier is rounded, which adds up over days: correct by what the
     * guest's own formula says. A deadline must never come early. */
    ticks_t t = ns_to_ticks(ns);
    uint64_t at = clock_ns(t);

    if (at > ns) {
        t -= ns_to_ticks(at - ns);
    }
    while (clock_ns(t) < ns) {
        t += ns_to_ticks(ns - clock_ns(t)) + 1;
    }
    return t;
}

void clock_publish(struct vcpu_time_info *t)
{
    __atomic_fetch_add(&t->version, 1, __ATOMIC_ACQ_REL);
    t->tsc_timestamp = 0;
    t->system_time = 0;
    t->tsc_to_system_mul = scale_mul;
    t->tsc_shift = scale_shift;
    t->flags = XEN_PVCLOCK_TSC_STABLE_BIT;
    __atomic_fetch_add(&t->version, 1, __ATOMIC_ACQ_REL);
}
