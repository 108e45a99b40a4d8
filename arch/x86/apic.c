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
#define PIT_CHANNEL_2 0x42
#define PIT_COMMAND 0x43
#define PIT_GATE 0x61
#define PIT_OUTPUT 0x20         /* in PIT_GATE: the count has passed 0 */
#define CALIBRATE_MS 10
#define SAMPLES 4
#define POLLS_MAX 1000000
#define TRIES_MAX 100

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

void apic_stop_others(void)
{
    /* Firmware's idle ones have nothing to take it with: they would reset
     * the machine. */
    for (unsigned i = 0; i < MAX_CPUS; i++) {
        if (percpu[i].online != 0 && i != arch_cpu()) {
            apic_send(percpu[i].apic_id, ICR_NMI);
        }
    }
}

void ioapic_route(unsigned irq, uint8_t vector)
{
    *device(IOAPIC, 0) = IOAPIC_REDIRECTION + irq * 2 + 1;
    *device(IOAPIC, 0x10) = apic_id() << 24;
    *device(IOAPIC, 0) = IOAPIC_REDIRECTION + irq * 2;
    *device(IOAPIC, 0x10) = vector;     /* fixed, edge, high, not masked */
}

struct sample {
    ticks_t tsc;
    uint32_t timer;
    uint16_t pit;
};

/*
 * The three clocks at one moment: of several readings the one that took the
 * fewest ticks, for an emulator may be descheduled in the middle of one.
 */
static struct sample take_sample(void)
{
    struct sample best = { .tsc = 0 };
    ticks_t least = UINT64_MAX;

    for (unsigned i = 0; i < SAMPLES; i++) {
        ticks_t before = arch_now(), after;
        struct sample s = { .tsc = before };

        outb(PIT_COMMAND, 0x80);        /* latch channel 2 */
        s.timer = lapic_read(LAPIC_TIMER_CURRENT);
        after = arch_now();
        s.pit = inb(PIT_CHANNEL_2);
        s.pit = (uint16_t)(s.pit | inb(PIT_CHANNEL_2) << 8);
        if (after - before < least) {
            least = after - before;
            best = s;
        }
    }
    return best;
}

/* Both rates, against channel 2 of the PIT as it counts down from 65536 (55
 * ms). False: that was over before the second sample. */
static bool measure(void)
{
    uint8_t gate = (uint8_t)((inb(PIT_GATE) & ~2) | 1);
    struct sample first, last;
    unsigned polls = 0;
    uint64_t counts;

    outb(PIT_GATE, gate & 0xfe);
    outb(PIT_COMMAND, 0xb0);            /* channel 2, mode 0, both bytes */
    outb(PIT_CHANNEL_2, 0xff);
    outb(PIT_CHANNEL_2, 0xff);
    lapic_write(LAPIC_LVT_TIMER, LVT_MASKED | VECTOR_TIMER);
    lapic_write(LAPIC_TIMER_INITIAL, UINT32_MAX);
    outb(PIT_GATE, gate);
    first = take_sample();
    do {
        arch_relax();
        last = take_sample();
        counts = (uint64_t)first.pit - last.pit;
        if (polls++ == POLLS_MAX) {
            panic("the PIT does not count");
        }
        if ((inb(PIT_GATE) & PIT_OUTPUT) != 0) {
            return false;
        }
        if (counts > UINT16_MAX) {
            return false;       /* it had not begun to count */
        }
    } while (counts < PIT_HZ * CALIBRATE_MS / 1000);
    lapic_write(LAPIC_TIMER_INITIAL, 0);
    lapic_write(LAPIC_LVT_TIMER, VECTOR_TIMER);
    tsc_hz = (last.tsc - first.tsc) * PIT_HZ / counts;
    timer_hz = (uint64_t)(first.timer - last.timer) * PIT_HZ / counts;
    return true;
}

void apic_calibrate(void)
{
    for (unsigned tries = 0; !measure(); tries++) {
        if (tries == TRIES_MAX) {
            panic("no %u ms without interruption to measure time",
                  CALIBRATE_MS);
        }
    }
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
