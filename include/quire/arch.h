/*
 * arch.h - all that common/ asks of the machine.
 *
 * Two implementations: arch/x86 (a real machine, AMD SVM) and arch/host (an
 * ordinary process: fake RAM, CPUs are pthreads, guests are scripts played
 * through a model TLB). The hot ones are inline, in <arch/inline.h>:
 *
 *   unsigned arch_cpu(void)            this CPU, 0 .. MAX_CPUS-1
 *   void arch_relax(void)              PAUSE, in every spin loop
 *   ticks_t arch_now(void)             this CPU's clock; one instruction a
 *                                      tick under -icount shift=0
 *   void *arch_map_frame(mfn_t)        a frame's page, in the direct map
 *   void arch_unmap_frame(const void *)
 *   mfn_t arch_virt_to_mfn(const void *) the reverse of arch_map_frame
 *   void arch_page_copy(void *, const void *)   } a whole page, aligned
 *   void arch_page_zero(void *)                 }
 *   bool arch_alloc_should_fail(void)  fault injection (host); else false
 *   void arch_frame_allocated(mfn_t, unsigned order)   } the host's poison
 *   void arch_frame_freed(mfn_t, unsigned order)       } and model TLB check
 */
#pragma once

#include <quire/types.h>
#include <arch/inline.h>

struct vcpu;
struct vcpu_exit;
struct vcpu_state;
struct guest_paging;

/** arch_nr_cpus() - CPUs online; their ids are 0 .. n-1. */
unsigned arch_nr_cpus(void);
/** arch_tick_hz() - ticks a second of arch_now(), calibrated at boot. */
uint64_t arch_tick_hz(void);
/** arch_set_deadline() - interrupt this CPU at @when; UINT64_MAX: never. */
void arch_set_deadline(ticks_t when);
/** arch_poll() - let pending interrupts in, once. No lock may be held. */
void arch_poll(void);
/** arch_idle() - sleep until an interrupt; returns after handling it. A kick
 *  that arrived since the last arch_poll() or arch_idle() makes it return. */
void arch_idle(void);
/** arch_kick() - make @cpu leave its guest or its idle sleep, soon. */
void arch_kick(unsigned cpu);
/** arch_putc() - one byte to the console. */
void arch_putc(char c);
/** arch_die() - end the machine. @status 0: success, DIE_PANIC: panic or trap,
 *  any other: failure. */
#define DIE_PANIC 2
_Noreturn void arch_die(int status);
/** arch_backtrace() - print the caller's stack on the console. */
void arch_backtrace(void);
/** arch_entropy() - a seed; the command line's `seed=` when given. */
uint64_t arch_entropy(void);
/** arch_cpuid() - this processor's own CPUID leaf: eax, ebx, ecx, edx. The
 *  host's answers are fixed. */
void arch_cpuid(uint32_t leaf, uint32_t sub, uint32_t out[4]);

/*
 * The control channel's UART (or the host test's buffer). getc returns -1
 * when there is nothing. An arriving byte wakes CPU 0 from arch_idle().
 */
int arch_control_getc(void);
void arch_control_putc(char c);

/* Virtual CPUs: see <quire/vcpu.h>. v->regs is live between runs. */
int must_check arch_vcpu_init(struct vcpu *v);
void arch_vcpu_fini(struct vcpu *v);
/** arch_vcpu_run() - one world switch: enters the guest on v->p2m, returns
 *  after its #VMEXIT with @exit filled. Never handles the exit. */
void arch_vcpu_run(struct vcpu *v, struct vcpu_exit *exit);
void arch_vcpu_get_state(struct vcpu *v, struct vcpu_state *s);
int must_check arch_vcpu_set_state(struct vcpu *v, const struct vcpu_state *s);
/** arch_vcpu_paging() - what a walk of the guest's page tables needs. */
void arch_vcpu_paging(struct vcpu *v, struct guest_paging *pg);
/** arch_vcpu_inject_exception() - @error used if the vector has a code. */
void arch_vcpu_inject_exception(struct vcpu *v, uint8_t vector,
                                uint32_t error);
/** arch_vcpu_inject_interrupt() - true if taken now; false: a window was
 *  requested and EXIT_INTR_WINDOW will come. */
bool arch_vcpu_inject_interrupt(struct vcpu *v, uint8_t vector);
/** arch_vcpu_skip() - advance past the exiting instruction. */
void arch_vcpu_skip(struct vcpu *v, const struct vcpu_exit *exit);
/** arch_vcpu_is_interruptible() - IF set and no interrupt shadow. */
bool arch_vcpu_is_interruptible(const struct vcpu *v);
/** arch_vcpu_inject_page_fault() - #PF with CR2 = @addr. */
void arch_vcpu_inject_page_fault(struct vcpu *v, gva_t addr, uint32_t error);
