/* task.c - one queue of tasks per CPU; a slice of the first at a time. */
#include <quire/arch.h>
#include <quire/errno.h>
#include <quire/lock.h>
#include <quire/panic.h>
#include <quire/task.h>

struct task_queue {
    cache_aligned struct spinlock lock;
    struct list tasks;      /* [task] */
    const char *last_name;  /* its CPU's own */
    uint64_t note;          /* its CPU's own */
};

#define QUEUE(n) \
    [n] = { SPINLOCK_INIT(TASK, n), LIST_INIT(queues[n].tasks) }

static struct task_queue queues[MAX_CPUS] = {
    QUEUE(0), QUEUE(1), QUEUE(2), QUEUE(3), QUEUE(4), QUEUE(5), QUEUE(6),
    QUEUE(7), QUEUE(8), QUEUE(9), QUEUE(10), QUEUE(11), QUEUE(12),
    QUEUE(13), QUEUE(14), QUEUE(15),
};
static_assert(MAX_CPUS == 16, "one QUEUE for each");

void task_queue(struct task *t, unsigned cpu)
{
    struct task_queue *q = &queues[cpu];

    BUG_ON(cpu >= MAX_CPUS);
    spin_lock(&q->lock);
    list_append(&q->tasks, &t->link);
    spin_unlock(&q->lock);
    if (cpu != arch_cpu()) {
        arch_kick(cpu);
    }
}

bool task_is_pending(void)
{
    struct task_queue *q = &queues[arch_cpu()];
    bool is_pending;

    spin_lock(&q->lock);
    is_pending = !list_is_empty(&q->tasks);
    spin_unlock(&q->lock);
    return is_pending;
}

const char *task_last_name(void)
{
    return queues[arch_cpu()].last_name;
}

/* @w NULL: the task's usual slice. */
static bool run_first(struct work *w)
{
    struct task_queue *q = &queues[arch_cpu()];
    struct work usual = WORK_INIT;
    struct list *first;
    struct task *t;
    int err;

    spin_lock(&q->lock);
    first = list_pop(&q->tasks);
    spin_unlock(&q->lock);
    if (first == NULL) {
        return false;
    }
    t = container_of(first, struct task, link);
    q->last_name = t->name;
    q->note = 0;
    if (w == NULL) {
        usual.left = t->is_bulk ? WORK_SLICE_BULK : WORK_SLICE;
        w = &usual;
    }
    work_begin(w);
    err = t->run(t, w);
    work_end();
    if (err == -ERESTART) {
        spin_lock(&q->lock);
        list_append(&q->tasks, &t->link);
        spin_unlock(&q->lock);
    }
    BUG_ON(nr_locks_held() != 0);
    return true;
}

void task_note(uint64_t what)
{
    queues[arch_cpu()].note = what;
}

uint64_t task_last_note(void)
{
    return queues[arch_cpu()].note;
}

bool task_run_slice(struct work *w)
{
    return run_first(w);
}

bool task_run_one(void)
{
    return run_first(NULL);
}
