/* domains.c - see domains.h. */
#include "domains.h"

#include <quire/arch.h>
#include <quire/errno.h>
#include <quire/grace.h>
#include <quire/heap.h>
#include <quire/page_alloc.h>
#include <quire/panic.h>
#include <quire/print.h>

#define MAX_PASSES 100000

void test_machine(uint64_t frames, unsigned cpus)
{
    host_machine_init(frames, cpus);
    domain_init();
    share_init(1, 0);
    grace_enter();
}

struct domain_config test_config(const char *name, uint64_t pages)
{
    struct domain_config c = { .id = DOMID_INVALID, .nr_vcpus = 1,
                               .nr_ranges = pages != 0,
                               .ranges = { { GFN(0), pages } } };

    print_to(c.name, sizeof(c.name), "%s", name);
    return c;
}

struct domain *test_create(const struct domain_config *c)
{
    struct domain *d = NULL;
    char why[DOMAIN_WHY_MAX];
    int err = domain_create(c, &d, why, NULL);

    if (err != 0) {
        panic("create %s: %s, %s", c->name, errno_name(err), why);
    }
    domain_get(d);
    return d;
}

void test_script(struct domain *d, unsigned i, const struct script_step *steps,
                 uint64_t n)
{
    struct script s = { .steps = steps, .nr = n };

    host_vcpu_set_script(d->vcpus[i], &s);
    d->vcpus[i]->initialised = true;
    vcpu_set_online(d->vcpus[i], true);
}

void test_start(struct domain *d, const struct script_step *steps,
                uint64_t n)
{
    test_script(d, 0, steps, n);
    BUG_ON(domain_unpause(d) != 0);
}

bool test_run_until(struct domain *d, enum domain_state state)
{
    for (unsigned i = 0; i < MAX_PASSES; i++) {
        if (atomic_load(&d->state) == (int)state) {
            return true;
        }
        if (!run_loop_once()) {
            break;
        }
    }
    return atomic_load(&d->state) == (int)state;
}

bool test_run_idle(void)
{
    for (unsigned i = 0; i < MAX_PASSES; i++) {
        if (!run_loop_once()) {
            return true;
        }
    }
    return false;
}

void test_kill(struct domain *d)
{
    while (domain_kill(d, NULL) != 0) {
        arch_relax();
    }
    domain_put(d);
}

void test_settle(void)
{
    while (grace_nr_pending() != 0) {
        grace_quiesce();
    }
    heap_cache_drain();
    page_cache_drain();
}
