/* reply.c - the JSON writer and the way out of its text; see reply.h. */
#include <quire/arch.h>
#include <quire/errno.h>
#include <quire/heap.h>
#include <quire/pressure.h>
#include <quire/print.h>
#include <quire/string.h>

#include "reply.h"

#define PIECE_BYTES 2000        /* a piece is one object of 2048 bytes */
#define STREAM_BYTES 64        /* sent at once, so that slices stay short */
#define FIRST_FULL (REPLY_FIRST / 2)    /* sent before the next slice */
#define UNITS_PER_BYTE 20       /* of the port */
/* Units, charged to whoever's slice it is: one value, one character of it. */
#define COST_VALUE 220
#define COST_CHAR 18

struct reply_piece {
    struct reply_piece *next;
    size_t used;
    char text[PIECE_BYTES];
};
static_assert(sizeof(struct reply_piece) <= 2048, "the largest heap class");

static const char opening[] = "{\"ok\":true";

void reply_init(struct reply *r, bool to_port)
{
    memcpy(r->first, opening, sizeof(opening) - 1);
    r->used = sizeof(opening) - 1;
    r->pieces = r->last = NULL;
    r->stored = 0;
    r->to_port = to_port;
    r->streaming = r->lost = false;
    r->comma = true;
    r->depth = 0;
    r->emitted = 0;
}

static void free_pieces(struct reply *r)
{
    while (r->pieces != NULL) {
        struct reply_piece *p = r->pieces;
        r->pieces = p->next;
        heap_free(p);
    }
    r->last = NULL;
    r->stored = 0;
}

void reply_fini(struct reply *r)
{
    free_pieces(r);
}

static void send(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        arch_control_putc(text[i]);
    }
}

/* The first text goes out: "ok" and its comma are left out. */
static void begin_stream(struct reply *r)
{
    if (!r->streaming) {
        r->streaming = true;
        r->emitted = sizeof(opening);
        arch_control_putc('{');
    }
}

/* first[] is full in the middle of a slice: that is a long one then. */
static void stream_out(struct reply *r)
{
    begin_stream(r);
    work_charge((int64_t)(r->used - r->emitted) * UNITS_PER_BYTE);
    send(r->first + r->emitted, r->used - r->emitted);
    r->used = r->emitted = 0;
}

static void store(struct reply *r, char c)
{
    struct reply_piece *p = r->last;

    if (p == NULL || p->used == PIECE_BYTES) {
        /* An answer must be possible with all other memory gone. */
        enum page_need last = page_need_set(PAGE_URGENT);

        p = r->stored < REPLY_STORE_MAX ? heap_alloc(sizeof(*p)) : NULL;
        page_need_set(last);
        if (p == NULL) {
            r->lost = true;
            return;
        }
        p->next = NULL;
        p->used = 0;
        if (r->last != NULL) {
            r->last->next = p;
        } else {
            r->pieces = p;
        }
        r->last = p;
    }
    p->text[p->used++] = c;
    r->stored++;
}

static slow_path void put_beyond(struct reply *r, char c)
{
    if (r->to_port) {
        stream_out(r);
        r->first[r->used++] = c;
    } else if (!r->lost) {
        store(r, c);
    }
}

static void put(struct reply *r, char c)
{
    if (likely(r->used < REPLY_FIRST)) {
        r->first[r->used++] = c;
    } else {
        put_beyond(r, c);
    }
}

static void put_text(struct reply *r, const char *text)
{
    while (*text != '\0') {
        put(r, *text++);
    }
}

static void put_quoted(struct reply *r, const char *text)
{
    char escape[8];

    work_charge((int64_t)strlen(text) * COST_CHAR);
    put(r, '"');
    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '"' || c == '\\') {
            put(r, '\\');
            put(r, (char)c);
        } else if (c < ' ' || c > '~') {
            print_to(escape, sizeof(escape), "\\u%04x", c);
            put_text(r, escape);
        } else {
            put(r, (char)c);
        }
    }
    put(r, '"');
}

static void begin_value(struct reply *r, const char *name)
{
    work_charge(COST_VALUE);
    if (r->comma) {
        put(r, ',');
    }
    r->comma = true;
    if (name != NULL) {
        put_quoted(r, name);
        put(r, ':');
    }
}

void reply_number(struct reply *r, const char *name, uint64_t v)
{
    char text[24], *digit = text + sizeof(text) - 1;

    begin_value(r, name);
    *digit = '\0';
    do {
        *--digit = (char)('0' + v % 10);
        v /= 10;
    } while (v != 0);
    put_text(r, digit);
}

void reply_signed(struct reply *r, const char *name, int64_t v)
{
    char text[24];

    begin_value(r, name);
    print_to(text, sizeof(text), "%ld", v);
    put_text(r, text);
}

void reply_string(struct reply *r, const char *name, const char *text)
{
    begin_value(r, name);
    put_quoted(r, text);
}

void reply_null(struct reply *r, const char *name)
{
    begin_value(r, name);
    put_text(r, "null");
}

void reply_bool(struct reply *r, const char *name, bool v)
{
    begin_value(r, name);
    put_text(r, v ? "true" : "false");
}

void reply_hex64(struct reply *r, const char *name, uint64_t v)
{
    char text[24];

    begin_value(r, name);
    print_to(text, sizeof(text), "\"0x%016lx\"", v);
    put_text(r, text);
}

void reply_open(struct reply *r, const char *name, char bracket)
{
    begin_value(r, name);
    put(r, bracket);
    r->closer[r->depth++] = bracket == '[' ? ']' : '}';
    r->comma = false;
}

void reply_close(struct reply *r)
{
    put(r, r->closer[--r->depth]);
    r->comma = true;
}

void reply_bytes_begin(struct reply *r, const char *name)
{
    begin_value(r, name);
    put(r, '"');
}

void reply_bytes(struct reply *r, const uint8_t *bytes, size_t len)
{
    work_charge((int64_t)len * 2 * COST_CHAR);
    for (size_t i = 0; i < len; i++) {
        put(r, "0123456789abcdef"[bytes[i] >> 4]);
        put(r, "0123456789abcdef"[bytes[i] & 15]);
    }
}

void reply_bytes_end(struct reply *r)
{
    put(r, '"');
}

/* The error, in an object that is open already (streaming) or a new one. */
static void put_error(struct reply *r, int err, const char *message,
                      const uint64_t *done)
{
    if (!r->streaming) {
        free_pieces(r);
        r->used = 0;
        put(r, '{');
        r->comma = false;
    }
    r->lost = false;
    reply_bool(r, "ok", false);
    reply_open(r, "error", '{');
    reply_string(r, "code", errno_name(err));
    reply_string(r, "message", message);
    if (done != NULL) {
        reply_number(r, "done", *done);
    }
    reply_close(r);
}

void reply_finish(struct reply *r, int err, const char *message,
                  const uint64_t *done)
{
    if (err != 0 && !r->streaming) {
        r->depth = 0;
    }
    while (r->depth > 0) {
        reply_close(r);
    }
    if (err == 0 && r->lost) {
        err = -ENOMEM;
        message = "no memory to keep so long a reply";
    }
    if (err != 0) {
        put_error(r, err, message, done);
    } else if (r->streaming) {
        reply_bool(r, "ok", true);
    }
    put(r, '}');
    put(r, '\n');
    if (r->lost) {
        /* The last bytes found no room: say so instead. */
        put_error(r, -ENOMEM, "no memory to keep so long a reply", NULL);
        put_text(r, "}\n");
    }
    r->emitted = 0;
}

/* At most STREAM_BYTES of @text; true when all of it is out. */
static bool emit_some(struct reply *r, const char *text, size_t used)
{
    size_t n = MIN(used - r->emitted, (size_t)STREAM_BYTES);

    send(text + r->emitted, n);
    r->emitted += n;
    return r->emitted == used;
}

int reply_drain(struct reply *r, struct work *w)
{
    if (!r->to_port || (r->emitted == 0 && r->used < FIRST_FULL)) {
        return 0;
    }
    begin_stream(r);
    while (!emit_some(r, r->first, r->used)) {
        if (work_spend(w, STREAM_BYTES * UNITS_PER_BYTE)) {
            return -ERESTART;
        }
    }
    r->used = r->emitted = 0;
    /* What fills it again has a slice of its own. */
    return work_spend(w, WORK_SLICE) ? -ERESTART : 0;
}

int reply_emit(struct reply *r, struct work *w)
{
    while (r->used > 0 || r->pieces != NULL) {
        struct reply_piece *p = r->pieces;

        if (r->used > 0) {
            if (emit_some(r, r->first, r->used)) {
                r->used = r->emitted = 0;
            }
        } else if (emit_some(r, p->text, p->used)) {
            r->pieces = p->next;
            r->emitted = 0;
            heap_free(p);
        }
        if ((r->used > 0 || r->pieces != NULL) &&
            work_spend(w, STREAM_BYTES * UNITS_PER_BYTE)) {
            return -ERESTART;
        }
    }
    r->last = NULL;
    return 0;
}
