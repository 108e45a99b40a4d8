/*
 * scan_task.h - the scanner (scan.h) in the background.
 *
 * A task on the CPU that had the fewest vCPUs when it began. After each batch
 * of pages_to_scan it sleeps for sleep_millisecs; once scan_knobs.run is 0 or
 * 2 and all that means is done, it ends.
 */
#pragma once

#include <quire/types.h>

/** scan_task_wake() - scan_knobs have changed. From any CPU. */
void scan_task_wake(void);
/** scan_task_ticks() - spent in its slices so far. */
ticks_t scan_task_ticks(void);
