/*
 * args.h - one command line taken apart: `command word word key=value ...`.
 *
 * Words are separated by blanks; "double quotes" keep blanks together, with
 * \" and \\ inside; # begins a comment. Parsing is in place: the pointers
 * point into the line. Numbers are decimal or 0x hexadecimal, with K, M or G
 * for powers of 1024; `@N` is figure N that a domain has reported.
 */
#pragma once

#include <quire/types.h>

#define ARGS_WORDS 12
#define ARGS_PAIRS 24

struct args {
    char *command;                  /* NULL: nothing but blanks */
    char *word[ARGS_WORDS];
    unsigned nr_words;
    struct { char *key, *value; } pair[ARGS_PAIRS];
    unsigned nr_pairs;
    const char *twice;          /* the key that was, if that is the error */
};

/** args_parse() - take @line apart. -EINVAL or -E2BIG, with the reason in
 *  *@why. */
int must_check args_parse(char *line, struct args *a, const char **why);
/** args_value() - the value of @key, or NULL. */
const char *args_value(const struct args *a, const char *key);
/**
 * args_number() - @text as a number. @figures (32 of them, or NULL) is what
 * @N refers to. -EINVAL: not a number; -ERANGE: more than 64 bits.
 */
int must_check args_number(const char *text, const uint64_t *figures,
                           uint64_t *n);
/** args_hex() - decode pairs of hex digits; @out may be @text itself. Returns
 *  the number of bytes or -EINVAL. */
int must_check args_hex(const char *text, uint8_t *out, size_t size);
/** args_has_word() - whether blank-separated @list holds @word. */
bool args_has_word(const char *list, const char *word);
