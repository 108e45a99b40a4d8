/*
 * console_io.c - a guest's console: bytes collected into lines, each printed
 * whole and tagged with its domain.
 *
 * A line goes out as soon as it ends, so that nothing is left behind when the
 * domain stops, and the log is in order. What takes long is the UART: an exit
 * prints one line at most, of as many bytes as d->line holds, escapes
 * included; the rest of the text is for the next exit. So a guest that floods
 * its console spends its own time slice with it, and others get in between.
 */
#include <quire/log.h>

#include "domain_life.h"
#include "hypercall.h"
#include "policy.h"

#define CHUNK 256

static void put_byte(struct domain *d, char c)
{
    if (c == '\t' || (c >= ' ' && c < 0x7f)) {
        d->line[d->line_len++] = c;
    } else if (c != '\r') {
        d->line_len += log_escape(d->line + d->line_len, (unsigned char)c);
    }
}

static void put_line(struct domain *d)
{
    log_guest_line(d->id, d->line, d->line_len);
    d->line_len = 0;
}

size_t console_write(struct domain *d, const char *text, size_t len)
{
    bool is_over = false;
    size_t i = 0;

    spin_lock(&d->lock);
    while (i < len && !is_over) {
        char c = text[i++];

        if (c != '\n') {
            put_byte(d, c);
        }
        is_over = c == '\n' || d->line_len + LOG_ESCAPE > sizeof(d->line);
    }
    if (is_over) {
        put_line(d);
    }
    spin_unlock(&d->lock);
    return i;
}

void console_flush(struct domain *d)
{
    spin_lock(&d->lock);
    if (d->line_len != 0) {
        put_line(d);
    }
    spin_unlock(&d->lock);
}

/* A long text goes out a line at a time, the rest by continuation. */
int64_t hypercall_console_io(struct hypercall *h)
{
    uint64_t count = h->arg[1];
    size_t n = (size_t)MIN(count, CHUNK);
    char text[CHUNK];

    if (h->arg[0] == CONSOLEIO_read) {
        return 0;       /* nothing to read */
    }
    if (h->arg[0] != CONSOLEIO_write) {
        return -ENOSYS;
    }
    if (count > INT32_MAX) {
        return -EINVAL;
    }
    if (hypercall_get(h, h->arg[2], text, n) != 0) {
        return -EFAULT;
    }
    n = console_write(h->d, text, n);
    if (n == count) {
        return 0;
    }
    hypercall_set_arg(h, 1, count - n);
    hypercall_set_arg(h, 2, h->arg[2] + n);
    return -ERESTART;
}
