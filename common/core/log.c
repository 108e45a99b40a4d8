/*
 * log.c - the log: whole lines on the console, under its lock.
 *
 * A line is formatted on the caller's stack first; only the bytes go out
 * under the lock.
 */
#include <quire/arch.h>
#include <quire/lock.h>
#include <quire/log.h>
#include <quire/print.h>
#include <quire/string.h>

#define LINE_MAX 512

_Atomic int log_level_now = LOG_INFO;

static struct spinlock console_lock = SPINLOCK_INIT(CONSOLE, 0);

void log_raw(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        arch_putc(text[i]);
    }
}

/* @line has room for one byte more than its @len. */
static void put_line(char *line, size_t len)
{
    line[len] = '\n';
    spin_lock(&console_lock);
    log_raw(line, len + 1);
    spin_unlock(&console_lock);
}

void log_print(enum log_level level, const char *fmt, ...)
{
    static const char letter[] = "EWID";
    char line[LINE_MAX + 1];
    size_t len;
    va_list ap;

    len = print_to(line, LINE_MAX, "(%c) ", letter[level & 3]);
    va_start(ap, fmt);
    len += vprint_to(line + len, LINE_MAX - len, fmt, ap);
    va_end(ap);
    put_line(line, MIN(len, LINE_MAX - 1));
}

unsigned log_escape(char *out, unsigned char c)
{
    static const char digit[] = "0123456789abcdef";

    out[0] = '\\';
    out[1] = 'x';
    out[2] = digit[c >> 4];
    out[3] = digit[c & 15];
    return LOG_ESCAPE;
}

/* A long line comes out as several, each with its tag. */
void log_guest_line(domid_t d, const char *text, size_t len)
{
    char line[LINE_MAX + 1];
    size_t at = 0;

    do {
        size_t n = print_to(line, LINE_MAX, "(d%u) ", (unsigned)d);

        /* An escape takes four bytes. */
        for (; at < len && n + 4 < LINE_MAX; at++) {
            unsigned char c = (unsigned char)text[at];

            if (c == '\t' || (c >= ' ' && c < 0x7f)) {
                line[n++] = (char)c;
            } else {
                n += log_escape(line + n, c);
            }
        }
        put_line(line, n);
    } while (at < len);
}
