/*
 * print.c - formatted printing into a buffer.
 *
 * Characters beyond the buffer are counted but not stored, so that the
 * caller learns the length it would have needed.
 */
#include <quire/print.h>
#include <quire/string.h>

struct out {
    char *buf;
    size_t size;        /* of buf, 0 allowed */
    size_t len;         /* of the text so far, stored or not */
};

struct spec {           /* one conversion: %[-0+][width][.precision] */
    bool is_left, has_zero, has_plus;
    int width;
    int precision;      /* -1: none */
    unsigned bytes;     /* of the integer argument: 4 or 8 */
};

static void put(struct out *o, char c)
{
    if (o->len + 1 < o->size) {
        o->buf[o->len] = c;
    }
    o->len++;
}

static void put_repeated(struct out *o, char c, int n)
{
    for (; n > 0; n--) {
        put(o, c);
    }
}

/* @text of @len characters, padded with blanks to the width. */
static void put_padded(struct out *o, const struct spec *s, const char *text,
                       size_t len)
{
    int pad = s->width - (int)len;

    if (!s->is_left) {
        put_repeated(o, ' ', pad);
    }
    for (size_t i = 0; i < len; i++) {
        put(o, text[i]);
    }
    if (s->is_left) {
        put_repeated(o, ' ', pad);
    }
}

static void put_string(struct out *o, const struct spec *s, const char *text)
{
    size_t len = 0;

    if (text == NULL) {
        text = "(null)";
    }
    while ((s->precision < 0 || len < (size_t)s->precision) &&
           text[len] != '\0') {
        len++;
    }
    put_padded(o, s, text, len);
}

/* @prefix ("-", "0x", "") goes before the zeros of %0, after the blanks. */
static void put_number(struct out *o, const struct spec *s, uint64_t value,
                       unsigned base, const char *prefix, bool is_upper)
{
    const char *digits = is_upper ? "0123456789ABCDEF" : "0123456789abcdef";
    char text[68];      /* 2 of prefix, 20 digits, or zeros up to 64 */
    char reversed[24];
    size_t n = 0, len = 0, zeros;

    do {
        reversed[n++] = digits[value % base];
        value /= base;
    } while (value != 0);
    for (; *prefix != '\0'; prefix++) {
        text[len++] = *prefix;
    }
    zeros = s->precision > 0 ? (size_t)s->precision :
            s->has_zero && !s->is_left && s->width > (int)len ?
            (size_t)s->width - len : 0;
    for (zeros = MIN(zeros, 64); zeros > n; zeros--) {
        text[len++] = '0';
    }
    while (n != 0) {
        text[len++] = reversed[--n];
    }
    put_padded(o, s, text, len);
}

static const char *parse_count(const char *f, int *value, va_list *ap)
{
    if (*f == '*') {
        *value = va_arg(*ap, int);
        return f + 1;
    }
    *value = 0;
    for (; *f >= '0' && *f <= '9'; f++) {
        *value = MIN(*value * 10 + (*f - '0'), 4096);
    }
    return f;
}

/* The part between % and the conversion's letter. */
static const char *parse_spec(const char *f, struct spec *s, va_list *ap)
{
    *s = (struct spec){ .precision = -1, .bytes = sizeof(int) };
    for (;; f++) {
        if (*f == '-') {
            s->is_left = true;
        } else if (*f == '0') {
            s->has_zero = true;
        } else if (*f == '+') {
            s->has_plus = true;
        } else {
            break;
        }
    }
    f = parse_count(f, &s->width, ap);
    if (s->width < 0) {
        s->is_left = true;
        s->width = -s->width;
    }
    if (*f == '.') {
        f = parse_count(f + 1, &s->precision, ap);
    }
    for (; *f == 'l' || *f == 'z' || *f == 'j' || *f == 't'; f++) {
        s->bytes = sizeof(long);
    }
    for (; *f == 'h'; f++) {    /* promoted to int: the value is right */
    }
    return f;
}

static void put_integer(struct out *o, struct spec *s, char conversion,
                        va_list *ap)
{
    uint64_t value;

    if (conversion == 'd' || conversion == 'i') {
        int64_t v = s->bytes == 8 ? va_arg(*ap, int64_t) : va_arg(*ap, int);
        put_number(o, s, v < 0 ? -(uint64_t)v : (uint64_t)v, 10,
                   v < 0 ? "-" : s->has_plus ? "+" : "", false);
        return;
    }
    value = s->bytes == 8 ? va_arg(*ap, uint64_t) : va_arg(*ap, unsigned);
    put_number(o, s, value, conversion == 'u' ? 10 : 16, "",
               conversion == 'X');
}

size_t vprint_to(char *buf, size_t size, const char *fmt, va_list args)
{
    struct out o = { .buf = buf, .size = size };
    struct spec s;
    va_list ap;
    char c;

    va_copy(ap, args);
    for (const char *f = fmt; *f != '\0'; f++) {
        if (*f != '%') {
            put(&o, *f);
            continue;
        }
        f = parse_spec(f + 1, &s, &ap);
        switch (*f) {
        case 'd': case 'i': case 'u': case 'x': case 'X':
            put_integer(&o, &s, *f, &ap);
            break;
        case 'p':
            put_number(&o, &s, (uintptr_t)va_arg(ap, void *), 16, "0x",
                       false);
            break;
        case 's':
            put_string(&o, &s, va_arg(ap, const char *));
            break;
        case 'c':
            c = (char)va_arg(ap, int);
            put_padded(&o, &s, &c, 1);
            break;
        case '%':
            put(&o, '%');
            break;
        default:        /* not ours: shown as it stands */
            put(&o, '%');
            f -= *f == '\0';
            if (*f != '%') {
                put(&o, *f);
            }
            break;
        }
    }
    va_end(ap);
    if (size != 0) {
        buf[MIN(o.len, size - 1)] = '\0';
    }
    return o.len;
}

size_t print_to(char *buf, size_t size, const char *fmt, ...)
{
    va_list ap;
    size_t len;

    va_start(ap, fmt);
    len = vprint_to(buf, size, fmt, ap);
    va_end(ap);
    return len;
}
