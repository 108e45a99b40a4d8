/*
 * evtchn.h - the inside of common/event: a domain's table of ports.
 *
 * Ports are in groups of 64, allocated when the first of a group is bound, so
 * that a domain without event channels costs no more than an array of 64
 * pointers. An interdomain port names its peer by pointer: the peer cannot be
 * destroyed without closing its ports, which turns this one into UNBOUND
 * under both locks, and its memory goes only after a grace period.
 */
#pragma once

#include <quire/event.h>
#include <quire/lock.h>

#define GROUP_PORTS 64
#define NR_GROUPS (EVTCHN_2L_NR_CHANNELS / GROUP_PORTS)
#define COMPAT_PORTS 1024           /* a 32-bit guest's */
#define EVENT_MAX_VCPUS XEN_LEGACY_MAX_VCPUS

struct evtchn {
    uint8_t state;                  /* EVTCHNSTAT_* */
    uint8_t virq;                   /* VIRQ */
    uint16_t vcpu;                  /* whom it notifies */
    domid_t remote_domid;           /* UNBOUND: who may bind; INTERDOMAIN */
    evtchn_port_t remote_port;      /* INTERDOMAIN */
    struct evtchn_domain *remote;   /* INTERDOMAIN */
};

struct evtchn_domain {
    struct spinlock lock;           /* EVENT, key id */
    domid_t id;                     /* (c) */
    bool is_dead;                   /* [event] relinquished */
    bool is_compat;                 /* [event] 32-bit layout */
    unsigned nr_vcpus;              /* (c) after the domain is built */
    struct vcpu_events *vcpus[EVENT_MAX_VCPUS];
    struct evtchn *groups[NR_GROUPS];       /* [event] */
    uint8_t used[NR_GROUPS];                /* [event] ports not closed */
    struct frame *page;             /* the shared page */
    struct shared_info *shared;     /* [event] mapped; NULL once released */
    _Atomic uint8_t callback_vector;    /* (a) 0: none */
};

void timer_init_cpus(void);

/** evtchn_port() - @port's record, or NULL if it is none. [event] */
struct evtchn *evtchn_port(struct evtchn_domain *e, evtchn_port_t port);
/** evtchn_set_pending() - raise @port towards its vCPU. [event] */
void evtchn_set_pending(struct evtchn_domain *e, evtchn_port_t port);
/** evtchn_is_pending() - its bit in the shared page. [event] */
bool evtchn_is_pending(struct evtchn_domain *e, evtchn_port_t port);
void evtchn_clear_pending(struct evtchn_domain *e, evtchn_port_t port);
/** evtchn_raise() - @port is pending: tell @ev unless it is masked. [event] */
void evtchn_raise(struct evtchn_domain *e, struct vcpu_events *ev,
                  evtchn_port_t port);
bool evtchn_test_and_unmask(struct evtchn_domain *e, evtchn_port_t port);
