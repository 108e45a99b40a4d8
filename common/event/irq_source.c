/*
 * irq_source.c - the one way by which interrupts reach a vCPU.
 *
 * Sources are registered once at boot, in priority order, and keep their
 * state themselves; nothing is queued here. So an interrupt that is withdrawn
 * before it could be injected (the guest cleared the pending bit) is simply
 * not there any more when it is asked for.
 */
#include <quire/arch.h>
#include <quire/event.h>
#include <quire/panic.h>

#define MAX_SOURCES 4

static const struct irq_source *sources[MAX_SOURCES + 1];   /* ... NULL */
static unsigned nr_sources;
static void (*notify)(struct vcpu *v);

void irq_source_register(const struct irq_source *s)
{
    for (unsigned i = 0; i < nr_sources; i++) {
        if (sources[i] == s) {
            return;
        }
    }
    BUG_ON(nr_sources == MAX_SOURCES);
    sources[nr_sources++] = s;
}

void irq_set_notify(void (*fn)(struct vcpu *v))
{
    notify = fn;
}

void irq_notify(struct vcpu *v)
{
    if (notify != NULL) {
        notify(v);
    }
}

static __attribute__((noinline)) void
inject(struct vcpu *v, const struct irq_source *s, uint8_t vector)
{
    if (arch_vcpu_inject_interrupt(v, vector)) {
        s->taken(v, vector);
    }
}

void irq_deliver(struct vcpu *v)
{
    if (v->irqs_blocked) {
        return;
    }
    for (const struct irq_source *const *s = sources; *s != NULL; s++) {
        int vector = (*s)->pending(v);

        if (unlikely(vector >= 0)) {
            inject(v, *s, (uint8_t)vector);
            return; /* one at an entry; the others when the window opens */
        }
    }
}

bool irq_is_pending(struct vcpu *v)
{
    for (unsigned i = 0; i < nr_sources && !v->irqs_blocked; i++) {
        if (sources[i]->pending(v) >= 0) {
            return true;
        }
    }
    return false;
}
