/*
 * hostile - a guest that wants out. It does whatever a guest can do wrong, on
 * purpose and then at random, and checks that each attempt gets exactly what
 * it deserves: an error, a fault of its own, or all ones from where there is
 * nothing. It can harm nobody but itself; that the others and the hypervisor
 * are unharmed is checked by them (stress domains beside it, audits after).
 *
 *   probes    privileged and SVM instructions, control, debug and model-
 *             specific registers, ports, holes, the edges of RAM, page
 *             tables that point nowhere, hypercalls with bad arguments.
 *   steps     `steps=` (2000) random acts of the same kinds, by `seed=`.
 *   canaries  pages of its own that none of it may have changed.
 *   end       the verdict, then by `end=` a death:
 *               triple      triple fault (empty IDT)
 *               stackfault  double fault on a broken stack: triple fault
 *               crash       SCHEDOP_shutdown, crash
 *               hang        spins for ever, interrupts off
 *               hlt         halts for ever, interrupts off
 *               badcr3      page tables in a hole
 *               stackhole   an exception with the stack in a hole
 *               random      runs random bytes until something ends it
 *             without it, as any guest: `then=`.
 *
 * Phases: 1 at the start, 2 when all is checked, before the end.
 */
#include "hostile.h"

static uint64_t canary_word(uint64_t i, unsigned j)
{
    return mix64(i << 9 | j);
}

static void canaries_plant(void)
{
    for (uint64_t i = 0; i < NR_CANARIES; i++) {
        uint64_t *p = gfn_ptr(CANARY_GFN + i);

        for (unsigned j = 0; j < PAGE_SIZE / 8; j++) {
            p[j] = canary_word(i, j);
        }
    }
}

static void canaries_check(const char *when)
{
    for (uint64_t i = 0; i < NR_CANARIES; i++) {
        const uint64_t *p = gfn_ptr(CANARY_GFN + i);

        for (unsigned j = 0; j < PAGE_SIZE / 8; j++) {
            if (p[j] != canary_word(i, j)) {
                guest_fail("%s: canary %lu word %u is %lx", when, i, j, p[j]);
                break;
            }
        }
    }
}

void expect(const char *what, uint32_t allowed, void (*fn)(void *), void *arg)
{
    struct guard g;
    uint32_t got = guard_run(&g, fn, arg) ? FAULT(g.vector) : NONE;

    CHECK((got & allowed) != 0, "%s: %s %u error %lx cr2 %lx at %lx", what,
          got == NONE ? "no fault" : "fault", g.vector, g.error, g.cr2,
          g.rip);
}

void guest_main(void)
{
    uint64_t seed = option_u64("seed", 1);
    static const struct { const char *name; void (*fn)(void); } parts[] = {
        { "instructions", probe_instructions },
        { "registers", probe_registers },
        { "places", probe_places },
        { "calls", probe_calls },
    };

    if (memory_run(CANARY_GFN) < NR_CANARIES + NR_SCRATCH) {
        guest_fail("too little RAM");
        guest_finish("hostile");
    }
    canaries_plant();
    guest_phase_report(1);
    for (unsigned i = 0; i < ARRAY_SIZE(parts); i++) {
        unsigned before = guest_failures();

        parts[i].fn();
        guest_printf("%s: %u failures\n", parts[i].name,
                     guest_failures() - before);
        canaries_check(parts[i].name);
    }
    wild_steps(seed, option_u64("steps", 2000));
    canaries_check("random steps");
    guest_verdict_count("hostile");
    guest_phase_report(2);
    hostile_end(seed);
    guest_end();
}
