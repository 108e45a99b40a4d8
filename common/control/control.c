/*
 * control.c - the channel itself: bytes become lines, a line becomes the
 * foreground job, one after another. The lines come from the port, or from
 * the boot module named "commands", after which the machine is shut down.
 */
#include <quire/arch.h>
#include <quire/control.h>
#include <quire/errno.h>
#include <quire/log.h>

#include "job.h"

#define BYTES_A_POLL 40         /* each takes a port read or two */

static struct {
    const char *batch;          /* what is left of it, or NULL */
    const char *batch_end;
    size_t used;                /* bytes of the line so far */
    bool too_long;              /* dropped until its end */
    bool is_whole;              /* begun in the next pass */
    bool failed;                /* a command of the batch did */
} channel;

static const struct command *const tables[] = {
    commands_system, commands_job, commands_domain, commands_create,
    commands_wait, commands_destroy, commands_kill_trace, commands_shadow,
    commands_memory, commands_populate,
    commands_share, commands_merge, commands_stats, commands_audit,
    commands_debug,
    commands_bench_spte,
    commands_scan,
    commands_bench_rmap,
    commands_add_range,
    commands_fork,
    commands_oom,
};

const struct command *command_find(const char *name)
{
    for (unsigned i = 0; i < ARRAY_SIZE(tables); i++) {
        for (const struct command *c = tables[i]; c->name != NULL; c++) {
            if (c->name[0] == name[0] && strcmp(c->name, name) == 0) {
                return c;
            }
        }
    }
    return NULL;
}

const struct command *command_at(unsigned index)
{
    for (unsigned i = 0; i < ARRAY_SIZE(tables); i++) {
        for (const struct command *c = tables[i]; c->name != NULL; c++) {
            if (index-- == 0) {
                return c;
            }
        }
    }
    return NULL;
}

static bool is_comment(const char *line)
{
    while (*line == ' ' || *line == '\t') {
        line++;
    }
    return *line == '\0' || *line == '#';
}

/* The line is whole: blank ones and comments have no reply. */
static void end_line(void)
{
    struct job *job = &job_foreground;

    job->line[channel.used] = '\0';
    channel.used = 0;
    if (channel.too_long) {
        channel.too_long = false;
        job_refuse(job, -E2BIG, "a line has at most 767 bytes");
    } else if (!is_comment(job->line)) {
        job_start(job, true, 0);
    }
}

static void take_byte(char c)
{
    if (c == '\n') {
        channel.is_whole = true;
    } else if (c == '\r') {
        return;
    } else if (channel.used == JOB_LINE_MAX - 1) {
        channel.too_long = true;
    } else {
        /* A NUL would hide the rest of the line from its parser. */
        job_foreground.line[channel.used++] = c == '\0' ? '\x01' : c;
    }
}

static int next_byte(void)
{
    if (channel.batch == NULL) {
        return arch_control_getc();
    }
    if (channel.batch < channel.batch_end) {
        return (unsigned char)*channel.batch++;
    }
    if (channel.used > 0) {
        return '\n';            /* the last line need not be ended */
    }
    log_info("the command list is done: %s",
             channel.failed ? "a command failed" : "every command succeeded");
    arch_die(channel.failed);
}

bool control_poll(void)
{
    struct job *job = &job_foreground;
    int state = atomic_load_explicit(&job->state, memory_order_acquire);
    unsigned taken = 0;

    if (state == JOB_RUNNING) {
        return false;
    }
    if (state == JOB_DONE) {
        channel.failed |= channel.batch != NULL && job->error != 0;
        job_release(job);
        if (job->shuts_down) {
            log_info("shutdown by the control channel");
            arch_die(channel.failed);
        }
    }
    if (channel.is_whole) {
        channel.is_whole = false;
        end_line();
        return true;
    }
    do {
        int c;

        if (taken++ == BYTES_A_POLL) {
            return true;
        }
        c = next_byte();
        if (c < 0) {
            return false;
        }
        take_byte((char)c);
    } while (!channel.is_whole);
    return true;
}

/* Whoever is at the other end need not guess when to begin. */
static void greet(void)
{
    static const char text[] = "{\"ok\":true,\"ready\":\"quire\"}\n";

    for (const char *c = text; *c != '\0'; c++) {
        arch_control_putc(*c);
    }
}

void control_init(const char *batch, size_t batch_len)
{
    memset(&channel, 0, sizeof(channel));
    channel.batch = batch;
    channel.batch_end = batch + batch_len;
    jobs_init();
    run_loop_set_poll(control_poll);
    greet();
}
