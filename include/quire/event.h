/*
 * event.h - event channels (two-level ABI), vCPU timers, and the one
 * interface by which interrupts reach a vCPU.
 */
#pragma once

#include <quire/vcpu.h>

/* A source of interrupts for a vCPU; sources are asked in priority order just
 * before each entry. pending() returns a vector or -1; taken() is called once
 * that vector has been injected. */
struct irq_source {
    int (*pending)(struct vcpu *v);
    void (*taken)(struct vcpu *v, uint8_t vector);
};
void irq_source_register(const struct irq_source *s);
/** irq_deliver() - before VMRUN: inject or ask for a window. */
void irq_deliver(struct vcpu *v);
/** irq_is_pending() - something to deliver (wakes a blocked vCPU). */
bool irq_is_pending(struct vcpu *v);

struct timer {
    struct list link;           /* [timer] */
    ticks_t when;
    void (*fn)(struct timer *t);    /* on the timer's CPU, no lock held */
    unsigned cpu;
    bool armed;
};
void timer_init(struct timer *t, unsigned cpu, void (*fn)(struct timer *));
void timer_set(struct timer *t, ticks_t when);      /* rearms */
void timer_cancel(struct timer *t);     /* not running anywhere afterwards */
/** timer_run_due() - this CPU's expired timers; sets the next deadline. */
void timer_run_due(void);
