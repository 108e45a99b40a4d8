/*
 * host.h - the machine in a process, as tests set it up and provoke it.
 *
 * A test calls host_machine_init() first; calling it again throws the old
 * machine away (its grace periods run out first). The calling thread is CPU
 * 0; host_run_on_cpus() adds the others for a while. Console output is kept
 * in memory and shown only when the machine dies unexpectedly.
 */
#pragma once

#include <quire/types.h>

/**
 * host_machine_init() - a machine of @ram_frames frames from mfn 0 on, and
 * @cpus CPUs (1 .. MAX_CPUS). Calls frame_table_init().
 */
void host_machine_init(uint64_t ram_frames, unsigned cpus);
/** host_ram_init() - only the RAM and CPUs, for tests of
 *  frame_table_init() itself. */
void host_ram_init(uint64_t ram_frames, unsigned cpus);

/** host_run_on_cpus() - @fn(@arg) on CPUs 0 .. @n-1 at once; returns when all
 *  have. CPU 0 is the calling thread. arch_cpu() says which. */
void host_run_on_cpus(unsigned n, void (*fn)(void *arg), void *arg);

/*
 * Fault injection (builds with QUIRE_DEBUG). Every call of page_alloc(),
 * page_alloc_owned(), heap_alloc() and heap_zalloc() counts as one.
 */
/** host_fail_alloc_at() - the @n-th from now fails, once; 0: none. */
void host_fail_alloc_at(uint64_t n);
/** host_alloc_count() - how many there have been since the process began. */
uint64_t host_alloc_count(void);
/** host_alloc_failed() - whether the failure asked for has happened. */
bool host_alloc_failed(void);

/** Called for each block freed, still readable, before it is poisoned. */
extern void (*host_frame_freed_hook)(mfn_t mfn, unsigned order);

/*
 * Death. The machine's end is this process's end: success exits 0, anything
 * else prints the console's last lines and aborts. To expect it, run the
 * fatal part in a child process.
 */
#define HOST_RETURNED (-1)      /* @fn came back */
#define HOST_CRASHED (-2)       /* a signal or a sanitizer ended it */
#define HOST_LOG_MAX 16384      /* last bytes of the console that are kept */
/** host_run_until_death() - @fn(@arg) in a child; returns arch_die()'s status
 *  or one of the above, with the end of its console in @log (@size bytes). */
int host_run_until_death(void (*fn)(void *arg), void *arg, char *log,
                         size_t size);
/** host_expect_panic() - whether @fn(@arg) panics with @text in the log. */
bool host_expect_panic(void (*fn)(void *arg), void *arg, const char *text);

/** host_console_text() - what the console holds; NUL-terminated. */
const char *host_console_text(void);
void host_console_clear(void);

/** host_control_feed() - bytes that arch_control_getc() will return. */
void host_control_feed(const char *text);
/** host_control_text() - what arch_control_putc() was given since the last
 *  clear; NUL-terminated. */
const char *host_control_text(void);
void host_control_clear(void);
