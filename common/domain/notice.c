/* notice.c - the ring of the last events of domains' lives; see
 * quire/notice.h. */
#include <quire/arch.h>
#include <quire/lock.h>
#include <quire/notice.h>

static struct spinlock lock = SPINLOCK_INIT(NOTICE, 0);
static struct notice ring[NOTICE_RING];     /* [notice] by number */
static uint64_t last;                       /* [notice] */

void notice_init(void)
{
    spin_lock(&lock);
    last = 0;
    spin_unlock(&lock);
}

void notice_add(const struct notice *n)
{
    spin_lock(&lock);
    struct notice *to = &ring[++last % NOTICE_RING];

    *to = *n;
    to->number = last;
    to->when = arch_now();
    spin_unlock(&lock);
}

bool notice_get(uint64_t from, struct notice *n)
{
    bool is_there;

    spin_lock(&lock);
    uint64_t oldest = last < NOTICE_RING ? 1 : last - NOTICE_RING + 1;

    from = MAX(from, oldest);
    is_there = from <= last;
    if (is_there) {
        *n = ring[from % NOTICE_RING];
    }
    spin_unlock(&lock);
    return is_there;
}

uint64_t notice_last(void)
{
    uint64_t n;

    spin_lock(&lock);
    n = last;
    spin_unlock(&lock);
    return n;
}

const char *notice_name(enum notice_kind kind)
{
    static const char *const names[NR_NOTICE_KINDS] = {
        [NOTICE_OOM_WAIT] = "oom-wait", [NOTICE_OOM_RESUME] = "oom-resume",
        [NOTICE_OOM_LAPSE] = "oom-lapse", [NOTICE_OOM_KILL] = "oom-kill",
        [NOTICE_SHUTDOWN] = "shutdown",
        [NOTICE_CRASH] = "crash",
    };

    return names[kind];
}
