/* boot.h - the order in which the machine comes up. */
#pragma once

/** boot_cpu_init() - SVM and per-CPU state of the calling CPU. */
void boot_cpu_init(void);
/** boot_halt_if_dying() - from an NMI: stop here if another CPU ends the
 *  machine. */
void boot_halt_if_dying(void);
