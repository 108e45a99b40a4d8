/* event.c - the guest's side of two-level event channels, and its clock. */
#include "event.h"

#include <public/xen/event_channel.h>
#include <public/xen/hvm.h>
#include <public/xen/memory.h>
#include <public/xen/vcpu.h>

#include "guest.h"

/* Replaced by the hypervisor's page: the RAM behind it goes back. */
static union { struct shared_info s; uint8_t page[PAGE_SIZE]; } shared
    __attribute__((aligned(4096)));

static struct { void (*fn)(unsigned port); unsigned vcpu; } ports[256];

struct shared_info *event_shared_info(void)
{
    return &shared.s;
}

int event_init(void)
{
    struct xen_add_to_physmap a = { .domid = DOMID_SELF,
        .space = XENMAPSPACE_shared_info,
        .gpfn = GVA(&shared) >> PAGE_SHIFT };
    struct xen_hvm_param p = { .domid = DOMID_SELF,
        .index = HVM_PARAM_CALLBACK_IRQ,
        .value = HVM_PARAM_CALLBACK_TYPE_VECTOR
                 << HVM_PARAM_CALLBACK_TYPE_SHIFT | EVENT_VECTOR };
    int64_t rc = hc_memory_op(XENMEM_add_to_physmap, &a);

    if (rc != 0) {
        return (int)rc;
    }
    for (unsigned i = 0; i < ARRAY_SIZE(shared.s.evtchn_mask); i++) {
        shared.s.evtchn_mask[i] = ~UINT64_C(0);
    }
    trap_set_irq(EVENT_VECTOR, event_upcall);
    return (int)hc_hvm_op(HVMOP_set_param, &p);
}

void event_set(unsigned port, unsigned vcpu, void (*fn)(unsigned port))
{
    ports[port].vcpu = vcpu;
    ports[port].fn = fn;
    (void)event_unmask(port);
}

static int bound(int64_t rc, evtchn_port_t port, unsigned vcpu,
                 void (*fn)(unsigned port))
{
    if (rc != 0) {
        return (int)rc;
    }
    if (port == 0 || port >= ARRAY_SIZE(ports)) {
        return -ERANGE;
    }
    event_set(port, vcpu, fn);
    return (int)port;
}

int event_bind_virq(unsigned virq, unsigned vcpu, void (*fn)(unsigned port))
{
    struct evtchn_bind_virq b = { .virq = virq, .vcpu = vcpu };
    int64_t rc = hc_event_channel_op(EVTCHNOP_bind_virq, &b);

    return bound(rc, b.port, vcpu, fn);
}

int event_bind_ipi(unsigned vcpu, void (*fn)(unsigned port))
{
    struct evtchn_bind_ipi b = { .vcpu = vcpu };
    int64_t rc = hc_event_channel_op(EVTCHNOP_bind_ipi, &b);

    return bound(rc, b.port, vcpu, fn);
}

int event_send(unsigned port)
{
    struct evtchn_send s = { .port = port };

    return (int)hc_event_channel_op(EVTCHNOP_send, &s);
}

void event_mask(unsigned port)
{
    __atomic_fetch_or(&shared.s.evtchn_mask[port / 64],
                      UINT64_C(1) << port % 64, __ATOMIC_SEQ_CST);
}

int event_unmask(unsigned port)
{
    struct evtchn_unmask u = { .port = port };

    return (int)hc_event_channel_op(EVTCHNOP_unmask, &u);
}

static void serve_word(unsigned w, unsigned vcpu)
{
    uint64_t bits = shared.s.evtchn_pending[w] & ~shared.s.evtchn_mask[w];

    while (bits != 0) {
        unsigned b = (unsigned)__builtin_ctzll(bits), port = w * 64 + b;

        bits &= bits - 1;
        if (port >= ARRAY_SIZE(ports) || ports[port].fn == NULL
            || ports[port].vcpu != vcpu) {
            continue;           /* another vCPU's */
        }
        __atomic_fetch_and(&shared.s.evtchn_pending[w],
                           ~(UINT64_C(1) << b), __ATOMIC_SEQ_CST);
        ports[port].fn(port);
    }
}

void event_upcall(void)
{
    unsigned vcpu = guest_vcpu();
    struct vcpu_info *vi = &shared.s.vcpu_info[vcpu];

    while (__atomic_exchange_n(&vi->evtchn_upcall_pending, 0,
                               __ATOMIC_SEQ_CST) != 0) {
        uint64_t sel = __atomic_exchange_n(&vi->evtchn_pending_sel, 0,
                                           __ATOMIC_SEQ_CST);

        while (sel != 0) {
            serve_word((unsigned)__builtin_ctzll(sel), vcpu);
            sel &= sel - 1;
        }
    }
}

bool clock_is_sane(void)
{
    const struct vcpu_time_info *t =
        &shared.s.vcpu_info[guest_vcpu()].time;

    return t->tsc_to_system_mul != 0 && (t->version & 1) == 0;
}

uint64_t clock_ns(void)
{
    const volatile struct vcpu_time_info *t =
        &shared.s.vcpu_info[guest_vcpu()].time;
    uint32_t version;
    uint64_t ns;

    do {
        while (((version = t->version) & 1) != 0) {
            cpu_relax();
        }
        uint64_t delta = rdtsc() - t->tsc_timestamp;

        delta = t->tsc_shift >= 0 ? delta << t->tsc_shift
                                  : delta >> -t->tsc_shift;
        ns = t->system_time
           + (uint64_t)((unsigned __int128)delta * t->tsc_to_system_mul >> 32);
    } while (t->version != version);
    return ns;
}

int timer_set_ns(uint64_t when)
{
    struct vcpu_set_singleshot_timer s = { .timeout_abs_ns = when };

    return (int)hc_vcpu_op(VCPUOP_set_singleshot_timer, guest_vcpu(), &s);
}
