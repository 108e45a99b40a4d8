/* cmdline.h - the hypervisor's own command line: `name=value` words. Options:
 * seed=N, loglevel=0..3, cpus=N, tick_us=N, batch (run the `commands` module),
 * die-on-exit, selftest=NAME (debug builds),
 * rmap=FORM (rmap.h). An unknown word ends the boot. */
#pragma once

#include <quire/types.h>

void cmdline_set(const char *line);
/** cmdline_check() - false: a word is unknown; an error names it and those that
 *  are known. */
bool must_check cmdline_check(void);
/** cmdline_u64() - @fallback if absent or malformed (with a warning). */
uint64_t cmdline_u64(const char *name, uint64_t fallback);
bool cmdline_has(const char *name);
/** cmdline_is() - whether @name is given and its value is @value. */
bool cmdline_is(const char *name, const char *value);
