/*
 * evtchn.c - binding, closing and sending on event channels.
 *
 * A port is CLOSED, UNBOUND (a named domain may bind it), INTERDOMAIN (two
 * ports that name each other), VIRQ or IPI. Two domains' locks are needed to
 * bind or close an interdomain pair; both are taken as a pair, and what was
 * read under one alone is read again.
 */
#include <quire/errno.h>
#include <quire/event.h>
#include <quire/heap.h>
#include <quire/panic.h>
#include <quire/string.h>
#include <quire/work.h>

#include "evtchn.h"

#define UNITS_PER_CLOSE 800     /* both locks, and the search for the next */

/* A free port, its record zeroed; the caller gives it a state. */
static int port_alloc(struct evtchn_domain *e, evtchn_port_t *port)
{
    unsigned groups = e->is_compat ? COMPAT_PORTS / GROUP_PORTS : NR_GROUPS;

    if (e->is_dead) {
        return -ESRCH;
    }
    for (unsigned g = 0; g < groups; g++) {
        /* Port 0 is never used. */
        if (e->used[g] >= GROUP_PORTS - (g == 0)) {
            continue;
        }
        if (e->groups[g] == NULL) {
            e->groups[g] = heap_zalloc(GROUP_PORTS * sizeof(struct evtchn));
            if (e->groups[g] == NULL) {
                return -ENOMEM;
            }
        }
        for (unsigned i = g == 0; i < GROUP_PORTS; i++) {
            if (e->groups[g][i].state == EVTCHNSTAT_closed) {
                e->used[g]++;
                e->groups[g][i] = (struct evtchn){ 0 };
                *port = g * GROUP_PORTS + i;
                return 0;
            }
        }
        BUG_ON(true);
    }
    return -ENOSPC;
}

static void port_free(struct evtchn_domain *e, evtchn_port_t port)
{
    struct evtchn *c = evtchn_port(e, port);

    evtchn_clear_pending(e, port);
    *c = (struct evtchn){ .state = EVTCHNSTAT_closed };
    e->used[port / GROUP_PORTS]--;
}

int evtchn_alloc_unbound(struct evtchn_domain *e, domid_t remote,
                         evtchn_port_t *port)
{
    spin_lock(&e->lock);
    int err = port_alloc(e, port);

    if (err == 0) {
        struct evtchn *c = evtchn_port(e, *port);

        c->state = EVTCHNSTAT_unbound;
        c->remote_domid = remote;
    }
    spin_unlock(&e->lock);
    return err;
}

int evtchn_bind_interdomain(struct evtchn_domain *e,
                            struct evtchn_domain *remote,
                            evtchn_port_t remote_port, unsigned vcpu,
                            evtchn_port_t *port)
{
    int err = -EINVAL;

    spin_lock_pair(&e->lock, &remote->lock);
    struct evtchn *rc = evtchn_port(remote, remote_port);

    if (rc == NULL || rc->state != EVTCHNSTAT_unbound ||
        rc->remote_domid != e->id || vcpu >= e->nr_vcpus) {
        goto out;
    }
    err = port_alloc(e, port);
    if (err != 0) {
        goto out;
    }
    *evtchn_port(e, *port) = (struct evtchn){
        .state = EVTCHNSTAT_interdomain, .vcpu = (uint16_t)vcpu,
        .remote_domid = remote->id, .remote_port = remote_port,
        .remote = remote,
    };
    rc->state = EVTCHNSTAT_interdomain;
    rc->remote_port = *port;
    rc->remote = e;
    /* Whatever was sent before the port had an end is made up for. */
    evtchn_set_pending(e, *port);
out:
    spin_unlock_pair(&e->lock, &remote->lock);
    return err;
}

int evtchn_bind_virq(struct evtchn_domain *e, unsigned virq, unsigned vcpu,
                     evtchn_port_t *port)
{
    int err = -EINVAL;

    spin_lock(&e->lock);
    if (virq < NR_VIRQS && vcpu < e->nr_vcpus) {
        if (e->vcpus[vcpu]->virq[virq] != 0) {
            err = -EEXIST;
        } else {
            err = port_alloc(e, port);
        }
        if (err == 0) {
            struct evtchn *c = evtchn_port(e, *port);

            c->state = EVTCHNSTAT_virq;
            c->virq = (uint8_t)virq;
            c->vcpu = (uint16_t)vcpu;
            e->vcpus[vcpu]->virq[virq] = *port;
        }
    }
    spin_unlock(&e->lock);
    return err;
}

int evtchn_bind_ipi(struct evtchn_domain *e, unsigned vcpu,
                    evtchn_port_t *port)
{
    int err = -EINVAL;

    spin_lock(&e->lock);
    if (vcpu < e->nr_vcpus) {
        err = port_alloc(e, port);
        if (err == 0) {
            struct evtchn *c = evtchn_port(e, *port);

            c->state = EVTCHNSTAT_ipi;
            c->vcpu = (uint16_t)vcpu;
        }
    }
    spin_unlock(&e->lock);
    return err;
}

/* Only ports whose sender does not name a vCPU may be moved: those of other
 * domains. VIRQs and IPIs belong to the vCPU they were bound for. */
int evtchn_bind_vcpu(struct evtchn_domain *e, evtchn_port_t port,
                     unsigned vcpu)
{
    int err = -EINVAL;

    spin_lock(&e->lock);
    struct evtchn *c = evtchn_port(e, port);

    if (c != NULL && vcpu < e->nr_vcpus &&
        (c->state == EVTCHNSTAT_unbound ||
         c->state == EVTCHNSTAT_interdomain)) {
        c->vcpu = (uint16_t)vcpu;
        err = 0;
    }
    spin_unlock(&e->lock);
    return err;
}

/* Close @port, whose interdomain peer, if it has one, is in @peer. Both locks
 * are held. */
static void close_locked(struct evtchn_domain *e, struct evtchn *c,
                         evtchn_port_t port)
{
    if (c->state == EVTCHNSTAT_virq) {
        e->vcpus[c->vcpu]->virq[c->virq] = 0;
    } else if (c->state == EVTCHNSTAT_interdomain) {
        struct evtchn *rc = evtchn_port(c->remote, c->remote_port);

        BUG_ON(rc == NULL || rc->state != EVTCHNSTAT_interdomain);
        rc->state = EVTCHNSTAT_unbound;
        rc->remote_domid = e->id;
        rc->remote = NULL;
        rc->remote_port = 0;
    }
    port_free(e, port);
}

int evtchn_close(struct evtchn_domain *e, evtchn_port_t port)
{
    struct evtchn_domain *peer = e;     /* e itself: no second lock */

    for (;;) {
        spin_lock_pair(&e->lock, &peer->lock);
        struct evtchn *c = evtchn_port(e, port);

        if (c == NULL || c->state == EVTCHNSTAT_closed) {
            spin_unlock_pair(&e->lock, &peer->lock);
            return -EINVAL;
        }
        struct evtchn_domain *now =
            c->state == EVTCHNSTAT_interdomain ? c->remote : e;

        if (now == peer || now == e) {
            close_locked(e, c, port);
            spin_unlock_pair(&e->lock, &peer->lock);
            return 0;
        }
        spin_unlock_pair(&e->lock, &peer->lock);
        peer = now;     /* its memory outlives this exit: grace */
    }
}

int evtchn_send(struct evtchn_domain *e, evtchn_port_t port)
{
    struct evtchn_domain *remote = NULL;
    evtchn_port_t remote_port = 0;
    int err = 0;

    spin_lock(&e->lock);
    struct evtchn *c = evtchn_port(e, port);

    if (c == NULL) {
        err = -EINVAL;
    } else if (c->state == EVTCHNSTAT_interdomain) {
        remote = c->remote;
        remote_port = c->remote_port;
    } else if (c->state == EVTCHNSTAT_ipi) {
        evtchn_set_pending(e, port);
    } else if (c->state != EVTCHNSTAT_unbound) {
        err = -EINVAL;
    }
    spin_unlock(&e->lock);
    if (remote != NULL) {
        spin_lock(&remote->lock);
        struct evtchn *rc = evtchn_port(remote, remote_port);

        if (rc != NULL && rc->state == EVTCHNSTAT_interdomain &&
            rc->remote == e && rc->remote_port == port) {
            evtchn_set_pending(remote, remote_port);
        }
        spin_unlock(&remote->lock);
    }
    return err;
}

int evtchn_unmask(struct evtchn_domain *e, evtchn_port_t port)
{
    int err = -EINVAL;

    spin_lock(&e->lock);
    struct evtchn *c = evtchn_port(e, port);

    if (c != NULL && c->state != EVTCHNSTAT_closed) {
        if (evtchn_test_and_unmask(e, port) && evtchn_is_pending(e, port)) {
            evtchn_raise(e, e->vcpus[c->vcpu], port);
        }
        err = 0;
    }
    spin_unlock(&e->lock);
    return err;
}

int evtchn_status(struct evtchn_domain *e, struct evtchn_status *s)
{
    int err = -EINVAL;

    spin_lock(&e->lock);
    struct evtchn *c = evtchn_port(e, s->port);

    if (c != NULL) {
        s->status = c->state;
        s->vcpu = c->vcpu;
        memset(&s->u, 0, sizeof(s->u));
        switch (c->state) {
        case EVTCHNSTAT_unbound:
            s->u.unbound.dom = c->remote_domid;
            break;
        case EVTCHNSTAT_interdomain:
            s->u.interdomain.dom = c->remote_domid;
            s->u.interdomain.port = c->remote_port;
            break;
        case EVTCHNSTAT_virq:
            s->u.virq = c->virq;
            break;
        default:
            break;
        }
        err = 0;
    }
    spin_unlock(&e->lock);
    return err;
}

void evtchn_raise_virq(struct vcpu *v, unsigned virq)
{
    struct evtchn_domain *e = v->events->domain;

    spin_lock(&e->lock);
    evtchn_port_t port = v->events->virq[virq];

    if (port != 0 && !e->is_dead) {
        evtchn_set_pending(e, port);
    }
    spin_unlock(&e->lock);
}

/* The first port at or after @port that is not closed, or 0. A look at 64
 * groups and at the ports of two. */
static evtchn_port_t next_open(struct evtchn_domain *e, evtchn_port_t port)
{
    spin_lock(&e->lock);
    while (port < EVTCHN_2L_NR_CHANNELS) {
        const struct evtchn *group = e->groups[port / GROUP_PORTS];

        if (e->used[port / GROUP_PORTS] == 0) {
            port = (port / GROUP_PORTS + 1) * GROUP_PORTS;
        } else if (group[port % GROUP_PORTS].state == EVTCHNSTAT_closed) {
            port++;
        } else {
            break;
        }
    }
    spin_unlock(&e->lock);
    return port < EVTCHN_2L_NR_CHANNELS ? port : 0;
}

/* The cursor is the table itself: what is closed is not met again. */
int evtchn_reset(struct evtchn_domain *e, struct work *w)
{
    evtchn_port_t port = 0;

    while ((port = next_open(e, port)) != 0) {
        /* -EINVAL: closed by now, which is what is wanted. */
        int err = evtchn_close(e, port++);

        (void)err;
        if (work_spend(w, UNITS_PER_CLOSE)) {
            return -ERESTART;
        }
    }
    return 0;
}
