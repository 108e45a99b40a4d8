/* acpi.h - which processors there are, from the MADT. */
#pragma once

#include <quire/types.h>

/**
 * acpi_find_cpus() - local APIC ids of the enabled processors, the caller's
 * among them, in @ids. Returns how many (at most @max), 0 if there are no
 * usable tables.
 */
unsigned acpi_find_cpus(uint32_t *ids, unsigned max);
