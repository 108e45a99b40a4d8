/* cmd_system.c - commands about the machine as a whole. */
#include <quire/arch.h>
#include <quire/control.h>
#include <quire/errno.h>
#include <quire/grace.h>
#include <quire/heap.h>
#include <quire/log.h>
#include <quire/page_alloc.h>

#include "job.h"

#define UNITS_PER_ITEM 150      /* of a list, besides its text */

static void put_command(struct reply *r, const struct command *c)
{
    reply_open(r, NULL, '{');
    reply_string(r, "name", c->name);
    reply_string(r, "arguments", c->synopsis);
    reply_string(r, "help", c->help);
    reply_close(r);
}

/* A list of what is numbered from 0: which is next. */
struct list_state { bool opened; unsigned next; };

static struct list_state *open_list(struct job *job, const char *name)
{
    struct list_state *s = JOB_STATE(job, struct list_state);

    if (!s->opened) {
        s->opened = true;
        reply_open(&job->reply, name, '[');
    }
    return s;
}

static int run_help(struct job *job, struct work *w)
{
    const struct command *c = NULL;
    struct list_state *s;

    if (job->args.nr_words == 1) {
        c = command_find(job->args.word[0]);
        if (c == NULL) {
            return job_fail(job, -ENOENT, "there is no command %.40s",
                            job->args.word[0]);
        }
    }
    s = open_list(job, "commands");
    if (c != NULL) {
        put_command(&job->reply, c);
    } else {
        while ((c = command_at(s->next)) != NULL) {
            put_command(&job->reply, c);
            s->next++;
            if (work_spend(w, UNITS_PER_ITEM)) {
                return -ERESTART;
            }
        }
    }
    reply_close(&job->reply);
    return 0;
}

static int run_version(struct job *job, struct work *w)
{
    (void)w;
    reply_string(&job->reply, "version", QUIRE_VERSION);
#ifdef QUIRE_DEBUG
    reply_string(&job->reply, "build", "debug");
#else
    reply_string(&job->reply, "build", "release");
#endif
    reply_number(&job->reply, "cpus", arch_nr_cpus());
    reply_number(&job->reply, "ticks_per_second", arch_tick_hz());
    reply_number(&job->reply, "now_ticks", arch_now());
    return 0;
}

static int run_modules(struct job *job, struct work *w)
{
    struct list_state *s = open_list(job, "modules");
    const struct boot_module *m;

    while ((m = boot_module_at(s->next)) != NULL) {
        reply_open(&job->reply, NULL, '{');
        reply_string(&job->reply, "name", m->name);
        reply_string(&job->reply, "arguments", m->args);
        reply_number(&job->reply, "bytes", m->size);
        reply_close(&job->reply);
        s->next++;
        if (work_spend(w, UNITS_PER_ITEM)) {
            return -ERESTART;
        }
    }
    reply_close(&job->reply);
    return 0;
}

/* The totals are of one moment, whatever the slices. */
struct memory_state {
    struct settle settle;
    bool is_settled;
    unsigned next;
    struct mem_totals totals;
    struct heap_stats heap;
};

static int run_memory(struct job *job, struct work *w)
{
    static const char *const uses[NR_FRAME_USES] = {
        NULL, "free_frames", "boot_frames", "percpu_frames", "heap_frames",
        "table_frames", "guest_frames", "shared_frames",
    };
    struct memory_state *s = JOB_STATE(job, struct memory_state);

    if (!s->is_settled) {
        if (settle(job, &s->settle) != 0) {
            return -ERESTART;
        }
        s->is_settled = true;
        mem_totals_get(&s->totals);
        heap_stats_get(&s->heap);
        if (work_spend(w, WORK_SLICE)) {
            return -ERESTART;
        }
    }
    if (s->next == 0) {
        reply_number(&job->reply, "total_frames", s->totals.total);
    }
    while (s->next < NR_FRAME_USES) {
        unsigned i = s->next++;

        if (uses[i] != NULL) {
            reply_number(&job->reply, uses[i], s->totals.frames[i]);
        }
        if (work_spend(w, UNITS_PER_ITEM)) {
            return -ERESTART;
        }
    }
    reply_number(&job->reply, "heap_objects", s->heap.objects);
    reply_number(&job->reply, "heap_bytes", s->heap.bytes);
    reply_number(&job->reply, "grace_pending", grace_nr_pending());
    reply_number(&job->reply, "domains", domain_count());
    return 0;
}

static int run_latency(struct job *job, struct work *w)
{
    struct list_state *s;
    bool reset;
    int err = job_flag(job, "reset", &reset);

    if (err != 0) {
        return err;
    }
    s = open_list(job, "cpus");
    while (s->next < arch_nr_cpus()) {
        unsigned cpu = s->next++;
        struct latency l;

        latency_get(cpu, &l);
        reply_open(&job->reply, NULL, '{');
        reply_number(&job->reply, "cpu", cpu);
        reply_number(&job->reply, "longest_ticks", l.longest);
        reply_string(&job->reply, "what", l.what != NULL ? l.what : "");
        reply_number(&job->reply, "detail", l.arg);
        reply_close(&job->reply);
        if (work_spend(w, UNITS_PER_ITEM)) {
            return -ERESTART;
        }
    }
    reply_close(&job->reply);
    if (reset) {
        latency_reset();
    }
    return 0;
}

static int run_loglevel(struct job *job, struct work *w)
{
    uint64_t level;

    (void)w;
    if (job->args.nr_words == 1) {
        int err = job_word_number(job, 0, "level", LOG_DEBUG, &level);
        if (err != 0) {
            return err;
        }
        atomic_store(&log_level_now, (int)level);
    }
    reply_number(&job->reply, "level", (uint64_t)atomic_load(&log_level_now));
    return 0;
}

struct sleep_state { bool started; ticks_t until; };

static int run_sleep(struct job *job, struct work *w)
{
    struct sleep_state *s = JOB_STATE(job, struct sleep_state);
    uint64_t ms;

    (void)w;
    if (!s->started) {
        int err = job_number(job, "ms", 1000, 0, 3600000, &ms);
        if (err != 0) {
            return err;
        }
        s->started = true;
        s->until = arch_now() + arch_tick_hz() / 1000 * ms;
    }
    return arch_now() >= s->until ? 0 : job_sleep(job, s->until - arch_now());
}

/* The reply goes out first: the machine ends in control_poll()'s next turn. */
static int run_shutdown(struct job *job, struct work *w)
{
    (void)w;
    reply_number(&job->reply, "domains", domain_count());
    job->shuts_down = true;
    return 0;
}

const struct command commands_system[] = {
    { .name = "help", .synopsis = "[COMMAND]", .keys = "", .max_words = 1,
      .help = "the commands, their arguments and what they do",
      .run = run_help },
    { .name = "version", .synopsis = "", .keys = "",
      .help = "version, CPUs and clock", .run = run_version },
    { .name = "modules", .synopsis = "", .keys = "",
      .help = "the boot modules: guest images and the like",
      .run = run_modules },
    { .name = "memory", .synopsis = "", .keys = "",
      .foreground = true,
      .help = "the machine's frames by use, grace periods over, caches empty",
      .run = run_memory },
    { .name = "latency", .synopsis = "[reset=1]", .keys = "reset",
      .help = "each CPU's longest stretch without a preemption point",
      .run = run_latency },
    { .name = "loglevel", .synopsis = "[0..3]", .keys = "", .max_words = 1,
      .help = "errors, warnings, information, debugging",
      .run = run_loglevel },
    { .name = "sleep", .synopsis = "[ms=1000]", .keys = "ms",
      .help = "wait for so many milliseconds", .run = run_sleep },
    { .name = "shutdown", .synopsis = "", .keys = "", .foreground = true,
      .help = "end the machine; in a batch it fails if a command did",
      .run = run_shutdown },
    { .name = NULL },
};
