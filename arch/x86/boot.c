/*
 * boot.c - the order in which the machine comes up: console, memory map,
 * page tables, frames, interrupts, SVM, the other CPUs, the control channel,
 * and then every CPU in its run loop.
 */
#include "boot.h"

#include <quire/arch.h>
#include <quire/cmdline.h>
#include <quire/control.h>
#include <quire/domain.h>
#include <quire/log.h>
#include <quire/panic.h>
#include <quire/pressure.h>
#include <quire/print.h>
#include <quire/shadow.h>
#include <quire/share.h>
#include <public/exit.h>

#include "apic.h"
#include "cpu_ops.h"
#include "multiboot.h"
#include "paging.h"
#include "percpu.h"
#include "selftest.h"
#include "serial.h"
#include "smp.h"
#include "svm/svm.h"
#include "traps.h"

#define COM2_IRQ 3

void boot_main(uint32_t magic, uint32_t mbi);

static struct boot_info info;
static _Atomic bool machine_is_dying;

static _Noreturn void halt(void)
{
    for (;;) {
        __asm__ volatile("cli; hlt");
    }
}

void boot_halt_if_dying(void)
{
    if (machine_is_dying) {
        halt();
    }
}

_Noreturn void arch_die(int status)
{
    machine_is_dying = true;
    outb(EXIT_PORT, status == 0 ? EXIT_CODE_SUCCESS
                    : status == DIE_PANIC ? EXIT_CODE_PANIC
                                                : EXIT_CODE_FAILURE);
    /* A machine without the device stops here, all of it. */
    apic_stop_others();
    halt();
}

uint64_t arch_entropy(void)
{
    uint64_t seed = arch_now(), random = 0;
    uint32_t out[4];

    if (cmdline_has("seed")) {
        return cmdline_u64("seed", 1);
    }
    cpuid(1, 0, out);
    if ((out[2] >> 30 & 1) != 0) {
        __asm__ volatile("rdrand %0" : "=r"(random) : : "cc");
    }
    return seed ^ random;       /* 0 when it has none to give */
}

/* rmap=FORM */
static enum rmap_form rmap_option(void)
{
    char allowed[64] = "";
    size_t len = 0;

    for (unsigned i = 0; i < RMAP_NR_FORMS; i++) {
        if (cmdline_is("rmap", rmap_form_name(i))) {
            return i;
        }
        len += print_to(allowed + len, sizeof(allowed) - len, " %s",
                        rmap_form_name(i));
    }
    if (cmdline_has("rmap")) {
        log_error("command line: rmap= must be one of:%s", allowed);
        arch_die(1);
    }
    return 0;
}

void boot_cpu_init(void)
{
    int err = svm_cpu_init();

    if (err != 0) {
        log_error("CPU %u cannot run guests; Quire needs AMD SVM with nested "
                  "paging (QEMU: -cpu max)", arch_cpu());
        arch_die(1);
    }
}

static void log_banner(ticks_t since)
{
    struct mem_totals t;

    mem_totals_get(&t);
    log_info("Quire " QUIRE_VERSION ": %u CPUs, %lu MiB of RAM, %lu MiB free, "
             "%lu MHz, up after %lu us", arch_nr_cpus(), t.total >> 8,
             t.frames[FRAME_FREE] >> 8, (arch_tick_hz() + 500000) / 1000000,
             (arch_now() - since) / (arch_tick_hz() / 1000000));
}

static void start_control(void)
{
    const struct boot_module *m = boot_module_find("commands");

    ioapic_route(COM2_IRQ, VECTOR_CONTROL);
    serial_control_interrupt();     /* its input is edge-triggered */
    control_init(m != NULL ? m->data : NULL, m != NULL ? m->size : 0);
}

void boot_main(uint32_t magic, uint32_t mbi)
{
    ticks_t since = arch_now();

    percpu_init(0, 0);
    traps_init();
    percpu_load(0);
    serial_init();
    if (magic != MULTIBOOT_MAGIC) {
        panic("not booted by a Multiboot 1 loader: magic 0x%x", magic);
    }
    multiboot_read(mbi, &info);
    paging_init(info.ram_end);
    percpu_init(0, 0);      /* its guard pages, in the tables just built */
    multiboot_modules(mbi);
    frame_table_init(info.ram, info.nr_ram, info.reserved, info.nr_reserved);
    apic_init();
    apic_calibrate();
    if (!cmdline_check()) {
        arch_die(1);
    }
    smp_init((unsigned)cmdline_u64("cpus", MAX_CPUS));
    domain_init();
    page_reserve_set(OOM_RESERVE);
    share_init(arch_entropy(), rmap_option());
    shadow_init();
    boot_cpu_init();
    smp_start();
    selftest_run();
    start_control();
    log_banner(since);
    run_loop();
}
