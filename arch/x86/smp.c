/*
 * smp.c - INIT, SIPI, SIPI, one processor at a time.
 *
 * A processor that does not report within a second is left out with a
 * warning; ids stay dense because the next one takes its number. The MADT says
 * which there are; without one the boot CPU is alone.
 */
#include "smp.h"

#include <quire/arch.h>
#include <quire/log.h>
#include <quire/sched.h>
#include <quire/string.h>

#include "acpi.h"
#include "apic.h"
#include "boot.h"
#include "layout.h"
#include "percpu.h"

#define START_TIMEOUT_US 1000000
#define SIPI_GAP_US 200

extern const uint8_t trampoline_start[], trampoline_end[];
extern uint8_t *ap_stack_top;
void ap_main(void);

uint8_t *ap_stack_top;
static uint32_t apic_ids[MAX_CPUS];
static unsigned nr_found, starting;
static _Atomic unsigned nr_online = 1;

unsigned arch_nr_cpus(void) { return nr_online; }

void smp_init(unsigned max)
{
    uint32_t self = apic_id();

    nr_found = acpi_find_cpus(apic_ids, MAX_CPUS);
    if (nr_found == 0) {
        log_warn("no usable ACPI MADT: one CPU is used");
    }
    for (unsigned i = 0; i < nr_found; i++) {
        if (apic_ids[i] == self) {
            apic_ids[i] = apic_ids[0];
        }
    }
    apic_ids[0] = self;
    nr_found = MIN(MAX(nr_found, 1u), MAX(max, 1u));
    percpu[0].apic_id = self;
    percpu[0].online = 1;
}

void ap_main(void)
{
    struct percpu *c = &percpu[starting];

    percpu_load(c->id);
    apic_init();
    c->apic_id = apic_id();
    boot_cpu_init();
    c->online = 1;
    run_loop();
}

/*
 * Send, and wait a little. QEMU under icount books a CPU that it resets as
 * having run up to the machine's next timer event; a timer of our own keeps
 * that short. It interrupts nobody: nothing is
 * let in before the run loop, where one wake-up too many does no harm.
 */
static void send_and_wait(uint32_t apic, uint32_t command)
{
    arch_set_deadline(arch_now() + SIPI_GAP_US * (arch_tick_hz() / 1000000));
    apic_send(apic, command);
    delay_us(SIPI_GAP_US);
}

static bool start_one(unsigned id, uint32_t apic)
{
    ticks_t end;

    percpu_init(id, apic);
    ap_stack_top = percpu[id].stack_top;
    starting = id;
    atomic_thread_fence(memory_order_seq_cst);
    send_and_wait(apic, ICR_INIT);
    for (unsigned i = 0; i < 2 && percpu[id].online == 0; i++) {
        send_and_wait(apic, ICR_STARTUP | TRAMPOLINE >> PAGE_SHIFT);
    }
    end = arch_now() + START_TIMEOUT_US * (arch_tick_hz() / 1000000);
    while (percpu[id].online == 0) {
        if (arch_now() > end) {
            return false;
        }
        arch_relax();
    }
    return true;
}

void smp_start(void)
{
    /* The trampoline's page is mapped read-only where it runs. */
    memcpy(arch_map_frame(MFN(TRAMPOLINE >> PAGE_SHIFT)), trampoline_start,
           (size_t)(trampoline_end - trampoline_start));
    for (unsigned i = 1; i < nr_found; i++) {
        if (start_one(nr_online, apic_ids[i])) {
            nr_online++;
        } else {
            log_warn("the CPU with APIC id %u does not start", apic_ids[i]);
        }
    }
    arch_set_deadline(UINT64_MAX);
}
