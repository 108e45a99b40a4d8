/* apic.c - interrupt controllers, time, sleep and wake-up. */
#include "apic.h"

#include <quire/arch.h>
#include <quire/panic.h>

#include "cpu_ops.h"
#include "layout.h"
#include "percpu.h"
#include "traps.h"

#define MSR_APIC_BASE 0x1b
#define APIC_BASE_ENABLE (UINT64_C(1) << 11)

#define LAPIC 0xfee00000
#define LAPIC_ID 0x20
#define LAPIC_TPR 0x80
#define LAPIC_EOI 0xb0
#define LAPIC_SPURIOUS 0xf0
#define LAPIC_ICR_LOW 0x300
#define LAPIC_ICR_HIGH 0x310
#define LAPIC_LVT_TIMER 0x320
#define LAPIC_LVT_LINT0 0x350
#define LAPIC_LVT_LINT1 0x360
#define LAPIC_TIMER_INITIAL 0x380
#define LAPIC_TIMER_CURRENT 0x390
#define LAPIC_TIMER_DIVIDE 0x3e0
#define LVT_MASKED 0x10000
#define DIVIDE_BY_1 0xb
#define ICR_PENDING 0x1000

#define IOAPIC 0xfec00000
#define IOAPIC_REDIRECTION 0x10

#define PIT_HZ 1193182
#define WINDOWS 8
#define WINDOW_MS 2

static uint64_t tsc_hz, timer_hz;

static volatile uint32_t *device(uint64_t base, uint32_t reg)
{
    return (volatile uint32_t *)(DIRECTMAP + base + reg);
}

static uint32_t lapic_read(uint32_t reg) { return *device(LAPIC, reg); }
static void lapic_write(uint32_t reg, uint32_t v) { *device(LAPIC, reg) = v; }

void apic_init(void)
{
    wrmsr(MSR_APIC_BASE, rdmsr(MSR_APIC_BASE) | APIC_BASE_ENABLE);
    lapic_write(LAPIC_TPR, 0);
    lapic_write(LAPIC_LVT_LINT0, LVT_MASKED);
    lapic_write(LAPIC_LVT_LINT1, LVT_MASKED);
    lapic_write(LAPIC_TIMER_DIVIDE, DIVIDE_BY_1);
    lapic_write(LAPIC_LVT_TIMER, VECTOR_TIMER);     /* one-shot */
    lapic_write(LAPIC_TIMER_INITIAL, 0);
    lapic_write(LAPIC_SPURIOUS, 0x100 | VECTOR_SPURIOUS);
    /* The old PICs stay silent. */
    outb(0x21, 0xff);
    outb(0xa1, 0xff);
}

uint32_t apic_id(void) { return lapic_read(LAPIC_ID) >> 24; }
void apic_eoi(void) { lapic_write(LAPIC_EOI, 0); }

void apic_send(uint32_t to, uint32_t command)
{
    lapic_write(LAPIC_ICR_HIGH, to << 24);
    lapic_write(LAPIC_ICR_LOW, command);
    while ((lapic_read(LAPIC_ICR_LOW) & ICR_PENDING) != 0) {
        arch_relax();
    }
}

void ioapic_route(unsigned irq, uint8_t vector)
{
    *device(IOAPIC, 0) = IOAPIC_REDIRECTION + irq * 2 + 1;
    *device(IOAPIC, 0x10) = apic_id() << 24;
    *device(IOAPIC, 0) = IOAPIC_REDIRECTION + irq * 2;
    *device(IOAPIC, 0x10) = vector;     /* fixed, edge, high, not masked */
}

/* One window: channel 2 of the PIT counts down, gated by port 0x61. */
static void measure_window(uint64_t *tsc, uint64_t *timer)
{
    unsigned count = PIT_HZ * WINDOW_MS / 1000;
    uint8_t gate = (uint8_t)((inb(0x61) & ~2) | 1);

    outb(0x61, gate & 0xfe);
    outb(0x43, 0xb0);                   /* channel 2, mode 0, both bytes */
    outb(0x42, count & 0xff);
    outb(0x42, (uint8_t)(count >> 8));
    outb(0x61, gate);
    *tsc = arch_now();
    *timer = lapic_read(LAPIC_TIMER_CURRENT);
    while ((inb(0x61) & 0x20) == 0) {
        arch_relax();
    }
    *tsc = arch_now() - *tsc;
    *timer -= lapic_read(LAPIC_TIMER_CURRENT);
}

/*
 * A window can only come out too long: an emulator's CPU is descheduled now
 * and then. So the shortest of several is the best.
 */
void apic_calibrate(void)
{
    uint64_t tsc = UINT64_MAX, timer = UINT64_MAX;

    lapic_write(LAPIC_LVT_TIMER, LVT_MASKED | VECTOR_TIMER);
    lapic_write(LAPIC_TIMER_INITIAL, UINT32_MAX);
    for (unsigned i = 0; i < WINDOWS; i++) {
        uint64_t t, l;

        measure_window(&t, &l);
        tsc = MIN(tsc, t);
        timer = MIN(timer, l);
    }
    lapic_write(LAPIC_TIMER_INITIAL, 0);
    lapic_write(LAPIC_LVT_TIMER, VECTOR_TIMER);
    tsc_hz = tsc * 1000 / WINDOW_MS;
    timer_hz = timer * 1000 / WINDOW_MS;
    if (tsc_hz < 1000000 || timer_hz < 1000000) {
        panic("clocks do not run: TSC %lu Hz, APIC timer %lu Hz", tsc_hz,
              timer_hz);
    }
}

uint64_t arch_tick_hz(void) { return tsc_hz; }

void delay_us(uint64_t us)
{
    ticks_t end = arch_now() + us * tsc_hz / 1000000;

    while (arch_now() < end) {
        arch_relax();
    }
}

void arch_set_deadline(ticks_t when)
{
    uint64_t count, now = arch_now();

    if (when == UINT64_MAX) {
        lapic_write(LAPIC_TIMER_INITIAL, 0);
        return;
    }
    count = when > now ? when - now : 0;
    /* More than a second away is looked at again in a second. */
    count = MIN(count, tsc_hz);
    count = count * (timer_hz >> 10) / (tsc_hz >> 10);
    lapic_write(LAPIC_TIMER_INITIAL,
                (uint32_t)MIN(MAX(count, UINT64_C(1)), UINT32_MAX));
}

void arch_kick(unsigned cpu)
{
    apic_send(percpu[cpu].apic_id, ICR_FIXED | VECTOR_KICK);
}

void arch_poll(void)
{
    /* STI takes effect after the next instruction. */
    __asm__ volatile("sti; nop; cli" ::: "memory");
    percpu[arch_cpu()].kicked = 0;
}

void arch_idle(void)
{
    struct percpu *c = &percpu[arch_cpu()];

    /* What came since the last look is not slept over; from STI to HLT no
     * interrupt is taken, so none is lost between the test and the sleep. */
    while (c->kicked == 0) {
        __asm__ volatile("sti; hlt; cli" ::: "memory");
    }
    c->kicked = 0;
}
