/*
 * reply.h - one line of JSON on its way out.
 *
 * A reply is an object; values are added in order, commas and brackets are
 * the writer's business. Its first bytes are kept in the reply itself, so a
 * short one needs no memory. What does not fit there is
 *   - streamed, for the one command that owns the port: the text so far goes
 *     out and "ok" comes last, since it is not known yet;
 *   - stored in pieces from the heap, for a job in the background. If there
 *     is no memory the reply becomes an error.
 * reply_finish() completes the text, reply_emit() writes it to the port.
 * Owner: a job. Locks: none; only the job's own task, or whoever has seen it
 * done, touches it. The port belongs to CPU 0's foreground job.
 */
#pragma once

#include <quire/types.h>
#include <quire/work.h>

#define REPLY_FIRST 2048        /* bytes kept in the reply itself */
#define REPLY_DEPTH 8
#define REPLY_STORE_MAX (UINT64_C(1) << 20)     /* stored bytes at most */

struct reply_piece;

struct reply {
    char first[REPLY_FIRST];
    size_t used;                /* bytes in first[] */
    struct reply_piece *pieces, *last;  /* stored text, in order */
    uint64_t stored;            /* bytes in pieces */
    bool to_port;               /* may stream */
    bool streaming;             /* text has gone out already */
    bool lost;                  /* no memory for a piece */
    bool comma;                 /* before the next value */
    uint8_t depth;
    char closer[REPLY_DEPTH];
    size_t emitted;             /* cursor of reply_emit(), this piece */
};

void reply_init(struct reply *r, bool to_port);
/** reply_fini() - free its pieces. */
void reply_fini(struct reply *r);

/* Values; @name is NULL inside an array. */
void reply_number(struct reply *r, const char *name, uint64_t v);
void reply_signed(struct reply *r, const char *name, int64_t v);
void reply_string(struct reply *r, const char *name, const char *text);
void reply_null(struct reply *r, const char *name);
void reply_bool(struct reply *r, const char *name, bool v);
/** reply_hex64() - a 64-bit pattern (hash, word) as "0x...". */
void reply_hex64(struct reply *r, const char *name, uint64_t v);
void reply_open(struct reply *r, const char *name, char bracket);
void reply_close(struct reply *r);
/* A string of bytes as hex digits, in as many pieces as one likes. */
void reply_bytes_begin(struct reply *r, const char *name);
void reply_bytes(struct reply *r, const uint8_t *bytes, size_t len);
void reply_bytes_end(struct reply *r);

/**
 * reply_finish() - close what is open and say how it went. @err 0, or the
 * (negated) errno with its @message; text not yet sent is then dropped. With
 * @done, that count goes with the error.
 */
void reply_finish(struct reply *r, int err, const char *message,
                  const uint64_t *done);
/** reply_drain() - send what has gathered, if it is much and may go already:
 *  before a slice that adds to it. Preemptible. */
int must_check reply_drain(struct reply *r, struct work *w);
/** reply_emit() - write the finished text to the port. Preemptible; may be
 *  called again when done, for nothing. */
int must_check reply_emit(struct reply *r, struct work *w);
