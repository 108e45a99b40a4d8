/*
 * domains.h - host tests that need whole domains: a machine with its
 * hypervisor initialised, domains with scripted guests, passes of the run
 * loop until something holds.
 */
#pragma once

#include <host.h>
#include <quire/domain.h>
#include <script.h>

/** test_machine() - @frames of RAM, @cpus CPUs, everything initialised. */
void test_machine(uint64_t frames, unsigned cpus);

/** test_config() - @pages of RAM from gfn 0, one vCPU, no image. */
struct domain_config test_config(const char *name, uint64_t pages);
/** test_create() - by that or any other config; panics if it cannot. */
struct domain *test_create(const struct domain_config *c);
/** test_script() - @n steps for vCPU @i of @d, which can then run. */
void test_script(struct domain *d, unsigned i, const struct script_step *steps,
                 uint64_t n);
/** test_start() - the same for vCPU 0, and unpause @d. */
void test_start(struct domain *d, const struct script_step *steps,
                uint64_t n);
/** test_run_until() - passes on this CPU until @d's state is @state, or it cannot
 *  get there: idle, or too many passes. True if it is. */
bool test_run_until(struct domain *d, enum domain_state state);
/** test_run_idle() - passes until there is nothing to do; false if always. */
bool test_run_idle(void);
/** test_kill() - to the end, and drop the caller's use of @d. */
void test_kill(struct domain *d);
/** test_settle() - let every grace period pass and caches drain. */
void test_settle(void);
