/*
 * test_control.h - a machine in a process with the control channel up, and
 * the other end of the channel.
 */
#pragma once

#include "host.h"
#include "test.h"

#include <quire/arch.h>
#include <quire/control.h>
#include <quire/domain.h>
#include <quire/grace.h>
#include <quire/log.h>
#include <quire/page_alloc.h>
#include <quire/share.h>
#include <stdio.h>
#include <string.h>

/* Passes of the run loop that any command of the tests may take. */
#define CONTROL_PASSES 20000000u

static inline void control_boot(uint64_t frames, unsigned cpus,
                                const char *batch)
{
    host_machine_init(frames, cpus);
    host_control_clear();
    atomic_store(&log_level_now, LOG_INFO);
    domain_init();
    share_init(test_seed, 0);
    control_init(batch, batch != NULL ? strlen(batch) : 0);
}

/* Run the machine until the port holds a whole line. */
static inline const char *control_answer(void)
{
    for (unsigned i = 0; i < CONTROL_PASSES; i++) {
        const char *text = host_control_text();
        size_t len = strlen(text);

        if (len > 0 && text[len - 1] == '\n') {
            return text;
        }
        run_loop_once();
    }
    test_fail(__FILE__, __LINE__, "no answer: %.200s", host_control_text());
}

/* The reply to one command; valid until the next. */
static inline const char *ask(const char *line)
{
    host_control_clear();
    host_control_feed(line);
    host_control_feed("\n");
    return control_answer();
}

/* ---- JSON, as far as a reply needs it ----------------------------------- */
static inline const char *json_value(const char *t, unsigned depth);

static inline const char *json_string(const char *t)
{
    if (*t++ != '"') {
        return NULL;
    }
    while (*t != '"') {
        if ((unsigned char)*t < ' ' || (unsigned char)*t > '~') {
            return NULL;
        }
        if (*t++ == '\\') {
            if (*t == 'u') {
                t += 4;
            }
            t++;
        }
    }
    return t + 1;
}

static inline const char *json_members(const char *t, char end,
                                       unsigned depth)
{
    if (*t == end) {
        return t + 1;
    }
    for (;;) {
        if (end == '}') {
            t = json_string(t);
            if (t == NULL || *t++ != ':') {
                return NULL;
            }
        }
        t = json_value(t, depth + 1);
        if (t == NULL || (*t != ',' && *t != end)) {
            return NULL;
        }
        if (*t++ == end) {
            return t;
        }
    }
}

/* Past the value at @t, or NULL: it is none. */
static inline const char *json_value(const char *t, unsigned depth)
{
    if (depth > 10) {
        return NULL;
    }
    if (*t == '{' || *t == '[') {
        return json_members(t + 1, *t == '{' ? '}' : ']', depth);
    }
    if (*t == '"') {
        return json_string(t);
    }
    if (strncmp(t, "true", 4) == 0) {
        return t + 4;
    }
    if (strncmp(t, "false", 5) == 0) {
        return t + 5;
    }
    if (*t < '0' || *t > '9') {
        return NULL;
    }
    while (*t >= '0' && *t <= '9') {
        t++;
    }
    return t;
}

/* Whether @t is one line of JSON with a verdict. */
static inline bool is_reply(const char *t)
{
    const char *end = *t == '{' ? json_value(t, 0) : NULL;

    return end != NULL && strcmp(end, "\n") == 0 &&
        (strstr(t, "\"ok\":true") != NULL) !=
        (strstr(t, "\"ok\":false,\"error\":{\"code\":\"E") != NULL);
}

static inline bool is_ok(const char *t)
{
    return is_reply(t) && strstr(t, "\"ok\":true") != NULL;
}

/* The first number called @name in a reply. */
static inline uint64_t field(const char *t, const char *name)
{
    char key[64];
    const char *at;

    snprintf(key, sizeof(key), "\"%s\":", name);
    at = strstr(t, key);
    if (at == NULL) {
        test_fail(__FILE__, __LINE__, "no %s in %.300s", name, t);
    }
    return strtoull(at + strlen(key), NULL, 10);
}

#define ASK_OK(line) \
    do { \
        const char *a_ = ask(line); \
        if (!is_ok(a_)) { \
            test_fail(__FILE__, __LINE__, "%s: %.300s", (line), a_); \
        } \
    } while (0)

/* The reply must be an error with this code, and say @text. */
#define ASK_FAILS(line, errcode, text) \
    do { \
        const char *a_ = ask(line); \
        if (!is_reply(a_) || is_ok(a_) || \
            strstr(a_, "\"code\":\"" errcode "\"") == NULL || \
            strstr(a_, text) == NULL) { \
            test_fail(__FILE__, __LINE__, "%.60s: %.300s", (line), a_); \
        } \
    } while (0)
