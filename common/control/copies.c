/* copies.c - N domains alike, all or none. See copies.h. */
#include <quire/errno.h>
#include <quire/heap.h>

#include "copies.h"

#define UNITS_PER_COPY 2000
#define FIRST_MAX 1000000

int copies_parse(struct job *job, struct copies *c, domid_t *id)
{
    uint64_t n;
    int err = job_number(job, "id", DOMID_INVALID, 0, MAX_DOMAINS - 1, &n);

    if (err == 0) {
        err = job_number(job, "count", 1, 1, MAX_DOMAINS, &c->count);
    }
    if (err == 0) {
        err = job_number(job, "first", 0, 0, FIRST_MAX, &c->first);
    }
    if (err == 0) {
        err = job_flag(job, "paused", &c->paused);
    }
    if (err != 0) {
        return err;
    }
    if (c->count > 1 && args_value(&job->args, "id") != NULL) {
        return job_fail(job, -EINVAL, "id= goes with a single %s",
                        job->command->name);
    }
    *id = (domid_t)n;
    c->made = heap_alloc(c->count * sizeof(*c->made));
    return c->made != NULL ? 0 :
        job_fail(job, -ENOMEM, "no memory to note %lu domains", c->count);
}

/* A reference to one of those made, or NULL: somebody has destroyed it. */
static struct domain *find_copy(const struct copy *copy)
{
    struct domain *d = domain_find(copy->id);

    if (d != NULL && p2m_birth(d->p2m) != copy->birth) {
        domain_put(d);
        d = NULL;
    }
    return d;
}

/* Preemptible: those made so far, and the one being made. */
static int make_all(struct job *job, struct copies *c,
                    int (*make)(struct job *job, struct domain **d,
                                struct work *w),
                    struct work *w)
{
    while (c->nr_made < c->count) {
        struct domain *d;
        int err = make(job, &d, w);

        if (err != 0) {
            return err;
        }
        c->made[c->nr_made++] = (struct copy){
            .id = d->id, .birth = p2m_birth(d->p2m) };
        if (work_spend(w, UNITS_PER_COPY)) {
            return -ERESTART;
        }
    }
    return 0;
}

/* All are there: let them run, and say which they are. Preemptible. */
static int start(struct job *job, struct copies *c, struct work *w)
{
    while (job->done < c->nr_made) {
        const struct copy *copy = &c->made[job->done];
        struct domain *d = find_copy(copy);

        if (job->done++ == 0) {
            reply_number(&job->reply, "domain", copy->id);
            reply_open(&job->reply, "domains", '[');
        }
        reply_number(&job->reply, NULL, copy->id);
        if (d != NULL) {
            /* Somebody may have unpaused or killed it already. */
            int err = c->paused ? 0 : domain_unpause(d);

            (void)err;
            domain_put(d);
        }
        if (work_spend(w, UNITS_PER_COPY)) {
            return -ERESTART;
        }
    }
    reply_close(&job->reply);
    return 0;
}

/* Preemptible: destroy what was made before the failure. */
static int undo(struct copies *c, struct work *w)
{
    while (c->nr_made > 0) {
        struct domain *d = find_copy(&c->made[c->nr_made - 1]);

        if (d != NULL) {
            int err = domain_kill(d, w);

            domain_put(d);
            if (err == -ERESTART) {
                return err;
            }
        }
        c->nr_made--;
    }
    return c->error;
}

int copies_run(struct job *job, struct copies *c,
               int (*make)(struct job *job, struct domain **d,
                           struct work *w),
               struct work *w)
{
    if (c->stage == COPIES_MAKE) {
        int err = make_all(job, c, make, w);

        if (err == -ERESTART) {
            return err;
        }
        c->error = err;
        c->stage = err == 0 ? COPIES_START : COPIES_UNDO;
    }
    return c->stage == COPIES_START ? start(job, c, w) : undo(c, w);
}

void copies_end(struct copies *c)
{
    heap_free(c->made);
}
