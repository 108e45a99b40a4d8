/*
 * guest.h - what every stress domain stands on.
 *
 * A guest defines guest_main(), called on vCPU 0 in 64-bit mode, interrupts
 * off, all RAM mapped one to one, the hypercall page installed. It looks at
 * its command line (`key=value` words), does its work, counts what it CHECKs,
 * and ends by guest_finish(): the verdict is PASS only if no CHECK failed.
 * Silence is a failure, and so is any fault that nobody expected.
 */
#pragma once

#include <public/xen/start_info.h>
#include <quire/types.h>

#include "cpu.h"
#include "hypercall.h"

#define GUEST_MAX_VCPUS 4
#define GUEST_FREE_GFN UINT64_C(0x180)  /* pages from here are the guest's */

void guest_main(void);

/* ---- console.c: lines, sent whole; a lock keeps vCPUs' lines apart ------ */
void guest_printf(const char *fmt, ...) printf_like(1, 2);
void guest_vprintf(const char *fmt, va_list ap);
size_t guest_snprintf(char *buf, size_t n, const char *fmt, ...)
    printf_like(3, 4);
size_t guest_vsnprintf(char *buf, size_t n, const char *fmt, va_list ap);
/** console_break_lock() - after a fault: whoever held the lock is gone. */
void console_break_lock(void);

/* ---- options.c: the command line ---------------------------------------- */
void options_init(const char *line);
const char *option_line(void);
/** option_str() - the value of `name=`, up to @n bytes into @buf; else
 *  @fallback. Returns @buf. */
const char *option_str(const char *name, const char *fallback, char *buf,
                       size_t n);
/** option_is() - `name=@value`. */
bool option_is(const char *name, const char *value);
uint64_t option_u64(const char *name, uint64_t fallback);

/* ---- memory.c: the memory map and the tables ---------------------------- */
/** memory_init() - copy the map, then map all of it one to one. */
void memory_init(const struct hvm_start_info *si);
/** memory_drop_null() - page 0 may have held start_info; now it faults. */
void memory_drop_null(void);
unsigned memory_nr_ranges(void);
const struct hvm_memmap_table_entry *memory_range(unsigned i);
/** memory_module() - of what the domain was given as modules=. */
unsigned memory_nr_modules(void);
const struct hvm_modlist_entry *memory_module(unsigned i);
/** memory_run() - RAM frames without a hole from @gfn on; 0: not RAM. */
uint64_t memory_run(uint64_t gfn);
/** memory_top() - first gfn above all RAM. */
uint64_t memory_top(void);
/** memory_map() - map [gpa, gpa+size) one to one, in 2M pages. */
void memory_map(uint64_t gpa, uint64_t size);
/** memory_window() - map any @gpa, at least 2M from it on; one at a time. */
void *memory_window(uint64_t gpa);
/** memory_protect() - a frame of the first 2M: writable or not. */
void memory_protect(uint64_t gfn, bool is_writable);
static inline void *gfn_ptr(uint64_t gfn)
{
    return (void *)(uintptr_t)(gfn << PAGE_SHIFT);
}

/* ---- traps.c ------------------------------------------------------------ */
struct trap_frame {
    uint64_t rax, rcx, rdx, rbx, rbp, rsi, rdi;
    uint64_t r8, r9, r10, r11, r12, r13, r14, r15;
    uint64_t vector, error;
    uint64_t rip, cs, rflags, rsp, ss;
};
/* A call that may fault: fired says whether it did, and the rest how. */
struct guard {
    uint64_t rsp;               /* guard_enter's own */
    bool fired;
    uint8_t vector;
    uint64_t error, rip, cr2;
};
/** guard_run() - fn(arg); a fault ends it, and is told in @g. True: fault. */
bool guard_run(struct guard *g, void (*fn)(void *), void *arg);
/** trap_cpu_init() - GDT, TSS and IDT of vCPU @id, the calling one. */
void trap_cpu_init(unsigned id);
/** trap_drop_ist() - let a double fault use the broken stack: triple fault */
void trap_drop_ist(void);
/** trap_expect_end() - from now on a fault just ends the domain (crash). */
void trap_expect_end(void);
/** trap_set_irq() - call @fn on interrupt @vector; NULL: count only. */
void trap_set_irq(uint8_t vector, void (*fn)(void));

/* ---- start.c: life and verdict ------------------------------------------ */
/** guest_vcpu() - this vCPU's number, from its stack. */
unsigned guest_vcpu(void);
/** guest_domid() - from Xen's leaf 4; DOMID_INVALID if it does not tell. */
domid_t guest_domid(void);
/** guest_start_vcpu() - run fn(id) on vCPU @id; 0 or a negative errno. */
int guest_start_vcpu(unsigned id, void (*fn)(unsigned id));

void guest_phase_report(uint64_t phase);
void guest_phase_wait(uint64_t phase);
void guest_figure(unsigned index, uint64_t value);
/** guest_ticks() - the hypervisor's clock, as in its own figures. */
uint64_t guest_ticks(void);

/** guest_fail() - count a failure and say it (the first 20 in full). */
void guest_fail(const char *fmt, ...) printf_like(1, 2);
unsigned guest_failures(void);
#define CHECK(cond, ...) \
    do { \
        if (!(cond)) { \
            guest_fail(__VA_ARGS__); \
        } \
    } while (0)

/** guest_verdict() - QUIRE_VERDICT_*, with a message. */
void guest_verdict(int verdict, const char *fmt, ...) printf_like(2, 3);
/** guest_verdict_count() - PASS unless a CHECK failed; @what was tested. */
void guest_verdict_count(const char *what);
/** guest_shutdown() - SHUTDOWN_*; never returns. */
_Noreturn void guest_shutdown(unsigned reason);
/** guest_end() - as `then=` says: `wait` for phase 99 (the default), or
 *  `shutdown` at once. Ends in power-off. */
_Noreturn void guest_end(void);
/** guest_finish() - guest_verdict_count() and guest_end(). */
_Noreturn void guest_finish(const char *what);

/* ---- string.c: what gcc calls, and what options need -------------------- */
void *memcpy(void *d, const void *s, size_t n);
void *memmove(void *d, const void *s, size_t n);
void *memset(void *d, int c, size_t n);
int memcmp(const void *a, const void *b, size_t n);
size_t strlen(const char *s);
int strcmp(const char *a, const char *b);
int strncmp(const char *a, const char *b, size_t n);
