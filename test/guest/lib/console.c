/*
 * console.c - formatted lines. A line goes out by one console_io hypercall, so
 * the hypervisor's log keeps it whole; without hypercalls, byte by byte to
 * the debug port 0xe9.
 */
#include <public/xen/xen.h>

#include "guest.h"

#define LINE_MAX 240

static atomic_flag console_lock = ATOMIC_FLAG_INIT;
static char line[LINE_MAX];
static size_t line_len;

struct out { char *buf; size_t room, len; };

static void out_char(struct out *o, char c)
{
    if (o->len + 1 < o->room) {
        o->buf[o->len] = c;
    }
    o->len++;
}

struct spec { unsigned width; bool zero, left; };

static void out_padded(struct out *o, const char *s, size_t n, struct spec sp)
{
    size_t pad = sp.width > n ? sp.width - n : 0;

    if (!sp.left) {
        while (pad > 0) {
            out_char(o, sp.zero ? '0' : ' ');
            pad--;
        }
    }
    for (size_t i = 0; i < n; i++) {
        out_char(o, s[i]);
    }
    while (pad > 0) {
        out_char(o, ' ');
        pad--;
    }
}

static void out_number(struct out *o, uint64_t v, unsigned base, bool minus,
                       struct spec sp)
{
    char digits[24];
    size_t i = sizeof(digits);

    do {
        digits[--i] = "0123456789abcdef"[v % base];
        v /= base;
    } while (v != 0);
    if (minus) {
        digits[--i] = '-';
    }
    out_padded(o, digits + i, sizeof(digits) - i, sp);
}

/* %s %c %d %i %u %x %p %%, flags 0 and -, a width, and l, ll, z: all that the
 * guests use. Returns the specifier's last character. */
static const char *out_spec(struct out *o, const char *f, va_list *ap)
{
    struct spec sp = { 0 };
    bool is_long = false;

    for (; *f == '0' || *f == '-'; f++) {
        sp.zero |= *f == '0';
        sp.left |= *f == '-';
    }
    for (; *f >= '0' && *f <= '9'; f++) {
        sp.width = sp.width * 10 + (unsigned)(*f - '0');
    }
    for (; *f == 'l' || *f == 'z'; f++) {
        is_long = true;
    }
    if (*f == 's') {
        const char *s = va_arg(*ap, const char *);

        out_padded(o, s, strlen(s), sp);
    } else if (*f == 'c') {
        out_char(o, (char)va_arg(*ap, int));
    } else if (*f == 'd' || *f == 'i') {
        int64_t v = is_long ? va_arg(*ap, long) : va_arg(*ap, int);

        out_number(o, v < 0 ? -(uint64_t)v : (uint64_t)v, 10, v < 0, sp);
    } else if (*f == 'u' || *f == 'x') {
        uint64_t v = is_long ? va_arg(*ap, unsigned long)
                             : va_arg(*ap, unsigned);

        out_number(o, v, *f == 'u' ? 10 : 16, false, sp);
    } else if (*f == 'p') {
        out_number(o, GVA(va_arg(*ap, void *)), 16, false, sp);
    } else {
        out_char(o, *f);
    }
    return f;
}

size_t guest_vsnprintf(char *buf, size_t n, const char *fmt, va_list ap)
{
    struct out o = { buf, n, 0 };
    va_list args;

    va_copy(args, ap);
    for (const char *f = fmt; *f != '\0'; f++) {
        if (*f != '%') {
            out_char(&o, *f);
        } else if (*++f != '\0') {
            f = out_spec(&o, f, &args);
        } else {
            break;
        }
    }
    va_end(args);
    if (n > 0) {
        buf[o.len < n ? o.len : n - 1] = '\0';
    }
    return o.len;
}

size_t guest_snprintf(char *buf, size_t n, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    size_t len = guest_vsnprintf(buf, n, fmt, ap);
    va_end(ap);
    return len;
}

static void line_send(void)
{
    if (hypercall_is_present()) {
        (void)hc_console_io(CONSOLEIO_write, line_len, line);
    } else {
        for (size_t i = 0; i < line_len; i++) {
            outb(0xe9, (uint8_t)line[i]);
        }
    }
    line_len = 0;
}

void guest_vprintf(const char *fmt, va_list ap)
{
    char text[LINE_MAX];
    size_t n = guest_vsnprintf(text, sizeof(text), fmt, ap);

    while (atomic_flag_test_and_set(&console_lock)) {
        cpu_relax();
    }
    for (size_t i = 0; i < n && text[i] != '\0'; i++) {
        line[line_len++] = text[i];
        if (text[i] == '\n' || line_len == sizeof(line)) {
            line_send();
        }
    }
    atomic_flag_clear(&console_lock);
}

void guest_printf(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    guest_vprintf(fmt, ap);
    va_end(ap);
}

void console_break_lock(void)
{
    line_len = 0;
    atomic_flag_clear(&console_lock);
}
