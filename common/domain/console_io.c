/*
 * console_io.c - a guest's console: bytes collected into lines, each printed
 * whole and tagged with its domain.
 */
#include <quire/log.h>

#include "hypercall.h"
#include "policy.h"

#define CHUNK 256

void console_write(struct domain *d, const char *text, size_t len)
{
    spin_lock(&d->lock);
    for (size_t i = 0; i < len; i++) {
        bool is_end = text[i] == '\n';

        if (!is_end && text[i] != '\r') {
            d->line[d->line_len++] = text[i];
        }
        if (is_end || d->line_len == sizeof(d->line)) {
            log_guest_line(d->id, d->line, d->line_len);
            d->line_len = 0;
        }
    }
    spin_unlock(&d->lock);
}

/* A long text goes out a chunk at a time, the rest by continuation. */
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
    console_write(h->d, text, n);
    if (n == count) {
        return 0;
    }
    hypercall_set_arg(h, 1, count - n);
    hypercall_set_arg(h, 2, h->arg[2] + n);
    return -ERESTART;
}
