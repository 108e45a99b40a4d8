/* cpu.h - between the files of arch/host: CPUs as threads. */
#pragma once

/** host_cpus_init() - @cpus CPUs; the calling thread is CPU 0. */
void host_cpus_init(unsigned cpus);
/** host_drain_grace() - run out every grace period; no thread but this. */
void host_drain_grace(void);
