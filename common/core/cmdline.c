/*
 * cmdline.c - the hypervisor's own command line.
 *
 * Words separated by blanks: `name` or `name=value`. The last of a name wins.
 */
#include <quire/cmdline.h>
#include <quire/log.h>
#include <quire/print.h>
#include <quire/string.h>

static char line[1024];

static const char *const known[] = {
    "seed", "loglevel", "cpus", "tick_us", "batch", "die-on-exit",
    "selftest", "rmap",
};

struct word { const char *name; size_t name_len; const char *value;
              size_t value_len; };

/* The word at or after @p; NULL at the end, else where to go on. */
static const char *next_word(const char *p, struct word *w)
{
    const char *end, *eq;

    while (*p == ' ' || *p == '\t') {
        p++;
    }
    if (*p == '\0') {
        return NULL;
    }
    for (end = p; *end != '\0' && *end != ' ' && *end != '\t'; end++) {
    }
    for (eq = p; eq != end && *eq != '='; eq++) {
    }
    w->name = p;
    w->name_len = (size_t)(eq - p);
    w->value = eq != end ? eq + 1 : NULL;
    w->value_len = eq != end ? (size_t)(end - eq - 1) : 0;
    return end;
}

static bool is_named(const struct word *w, const char *name)
{
    return strlen(name) == w->name_len &&
           memcmp(w->name, name, w->name_len) == 0;
}

static bool find(const char *name, struct word *found)
{
    struct word w;
    bool has_it = false;

    for (const char *p = line; (p = next_word(p, &w)) != NULL;) {
        if (is_named(&w, name)) {
            *found = w;
            has_it = true;
        }
    }
    return has_it;
}

/* A whole word as a number: decimal or 0x. False: it is not one. */
static bool parse_u64(const char *s, size_t len, uint64_t *value)
{
    unsigned base = 10;

    if (len > 2 && s[0] == '0' && (s[1] == 'x' || s[1] == 'X')) {
        base = 16;
        s += 2;
        len -= 2;
    }
    *value = 0;
    for (size_t i = 0; i < len; i++) {
        unsigned c = (unsigned char)s[i], digit;

        digit = c >= '0' && c <= '9' ? c - '0' :
                (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : 16;
        if (digit >= base || __builtin_mul_overflow(*value, base, value) ||
            __builtin_add_overflow(*value, digit, value)) {
            return false;
        }
    }
    return len != 0;
}

void cmdline_set(const char *text)
{
    size_t len = MIN(strlen(text), sizeof(line) - 1);
    bool is_cut = text[len] != '\0';

    /* Not in the middle of a word. */
    while (is_cut && len > 0 && text[len - 1] != ' ') {
        len--;
    }
    memcpy(line, text, len);
    line[len] = '\0';
    if (is_cut) {
        log_warn("command line cut after %zu bytes", len);
    }
    log_level_now = (int)MIN(cmdline_u64("loglevel",
                                         (uint64_t)log_level_now),
                             (uint64_t)LOG_DEBUG);
}

bool cmdline_check(void)
{
    char allowed[128] = "";
    size_t len = 0;
    bool is_good = true;
    struct word w;

    for (unsigned i = 0; i < ARRAY_SIZE(known); i++) {
        len += print_to(allowed + len, sizeof(allowed) - len, " %s",
                        known[i]);
    }
    for (const char *p = line; (p = next_word(p, &w)) != NULL;) {
        bool is_known = false;

        for (unsigned i = 0; i < ARRAY_SIZE(known); i++) {
            is_known |= is_named(&w, known[i]);
        }
        if (!is_known) {
            log_error("command line: unknown option \"%.*s\"; there are:%s",
                      (int)w.name_len, w.name, allowed);
            is_good = false;
        }
    }
    return is_good;
}

uint64_t cmdline_u64(const char *name, uint64_t fallback)
{
    struct word w;
    uint64_t value;

    if (!find(name, &w)) {
        return fallback;
    }
    if (parse_u64(w.value, w.value_len, &value)) {
        return value;
    }
    log_warn("command line: %s=%.*s is not a number", name, (int)w.value_len,
             w.value != NULL ? w.value : "");
    return fallback;
}

bool cmdline_is(const char *name, const char *value)
{
    struct word w;

    return find(name, &w) && strlen(value) == w.value_len &&
           memcmp(value, w.value, w.value_len) == 0;
}

bool cmdline_has(const char *name)
{
    struct word w;

    return find(name, &w);
}
