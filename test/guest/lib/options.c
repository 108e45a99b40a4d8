/* options.c - the command line: words `key=value`, kept in a copy, because
 * where PVH put them becomes pages to overwrite. */
#include "guest.h"

#define CMDLINE_MAX 1024

static char cmdline[CMDLINE_MAX];

void options_init(const char *text)
{
    size_t n = 0;

    while (text != NULL && text[n] != '\0' && n + 1 < sizeof(cmdline)) {
        cmdline[n] = text[n];
        n++;
    }
    cmdline[n] = '\0';
}

const char *option_line(void)
{
    return cmdline;
}

static const char *find(const char *name)
{
    size_t n = strlen(name);

    for (const char *p = cmdline; *p != '\0';) {
        if (strncmp(p, name, n) == 0 && p[n] == '=') {
            return p + n + 1;
        }
        while (*p != '\0' && *p != ' ') {
            p++;
        }
        while (*p == ' ') {
            p++;
        }
    }
    return NULL;
}

const char *option_str(const char *name, const char *fallback, char *buf,
                       size_t n)
{
    const char *v = find(name);
    size_t i = 0;

    v = v != NULL ? v : fallback;
    while (v[i] != '\0' && v[i] != ' ' && i + 1 < n) {
        buf[i] = v[i];
        i++;
    }
    buf[i] = '\0';
    return buf;
}

bool option_is(const char *name, const char *value)
{
    char buf[32];

    return strcmp(option_str(name, "", buf, sizeof(buf)), value) == 0;
}

/* Decimal or 0x; a suffix K, M or G multiplies. Nonsense is fatal: a test
 * that ran with another number than asked for would prove nothing. */
uint64_t option_u64(const char *name, uint64_t fallback)
{
    const char *p = find(name);
    uint64_t v = 0;
    unsigned base = 10, digits = 0;

    if (p == NULL) {
        return fallback;
    }
    if (p[0] == '0' && p[1] == 'x') {
        base = 16;
        p += 2;
    }
    for (;; p++, digits++) {
        unsigned d = *p >= '0' && *p <= '9' ? (unsigned)(*p - '0')
                   : *p >= 'a' && *p <= 'f' ? (unsigned)(*p - 'a') + 10 : 99;

        if (d >= base) {
            break;
        }
        v = v * base + d;
    }
    if (*p == 'K' || *p == 'M' || *p == 'G') {
        v <<= *p == 'K' ? 10 : *p == 'M' ? 20 : 30;
        p++;
    }
    if (digits == 0 || (*p != '\0' && *p != ' ')) {
        guest_fail("option %s is not a number", name);
        guest_finish("the command line");
    }
    return v;
}
