/* args.c - taking a command line apart; see args.h. */
#include <quire/errno.h>
#include <quire/string.h>

#include "args.h"

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* What a character means to the parser. */
enum { C_OTHER, C_KEY, C_BLANK, C_QUOTE, C_ESCAPE, C_EQUALS, C_END };

static const uint8_t class_of[256] = {
    ['\0'] = C_END, [' '] = C_BLANK, ['\t'] = C_BLANK, ['"'] = C_QUOTE,
    ['\\'] = C_ESCAPE, ['='] = C_EQUALS, ['_'] = C_KEY,
    ['0' ... '9'] = C_KEY, ['a' ... 'z'] = C_KEY,
};

/*
 * Cut the next token off *@from; quotes and escapes are resolved by moving
 * the text down over them. *@eq is the first unquoted '=' after a key. Most
 * characters are plain ones, and lines may be long: those go by in a short
 * loop.
 */
static int next_token(char **from, char **token, char **eq, const char **why)
{
    char *in = *from, *out = *from;
    bool quoted = false, key = true;
    uint8_t class;

    *token = out;
    *eq = NULL;
    for (;;) {
        while ((class = class_of[(uint8_t)*in]) <= C_KEY) {
            key &= class;
            *out++ = *in++;
        }
        if (class == C_END || (class == C_BLANK && !quoted)) {
            break;
        }
        if (class == C_QUOTE) {
            quoted = !quoted;
            key = key && *eq != NULL;
            in++;
            continue;
        }
        if (class == C_ESCAPE && quoted && (in[1] == '"' || in[1] == '\\')) {
            in++;
        } else if (class == C_EQUALS && key && *eq == NULL && out > *token) {
            *eq = out;
        } else {
            key = false;
        }
        *out++ = *in++;
    }
    if (quoted) {
        *why = "a quote is not closed";
        return -EINVAL;
    }
    *from = *in == '\0' ? in : in + 1;
    *out = '\0';
    return 0;
}

static int add_pair(struct args *a, char *token, char *eq, const char **why)
{
    *eq = '\0';
    if (args_value(a, token) != NULL) {
        *why = "is given twice";
        a->twice = token;
        return -EINVAL;
    }
    if (a->nr_pairs == ARGS_PAIRS) {
        *why = "too many arguments";
        return -E2BIG;
    }
    a->pair[a->nr_pairs].key = token;
    a->pair[a->nr_pairs++].value = eq + 1;
    return 0;
}

int args_parse(char *line, struct args *a, const char **why)
{
    memset(a, 0, sizeof(*a));
    for (const char *c = line; *c != '\0'; c++) {
        if ((unsigned char)*c < ' ' && *c != '\t') {
            *why = "the line holds a control character";
            return -EINVAL;
        }
    }
    for (;;) {
        char *token, *eq;
        int err;

        while (is_blank(*line)) {
            line++;
        }
        if (*line == '\0' || *line == '#') {
            return 0;
        }
        err = next_token(&line, &token, &eq, why);
        if (err == 0 && a->command == NULL) {
            a->command = token;
        } else if (err == 0 && eq != NULL) {
            err = add_pair(a, token, eq, why);
        } else if (err == 0 && a->nr_words == ARGS_WORDS) {
            *why = "too many words";
            err = -E2BIG;
        } else if (err == 0) {
            a->word[a->nr_words++] = token;
        }
        if (err != 0) {
            return err;
        }
    }
}

const char *args_value(const struct args *a, const char *key)
{
    for (unsigned i = 0; i < a->nr_pairs; i++) {
        if (strcmp(a->pair[i].key, key) == 0) {
            return a->pair[i].value;
        }
    }
    return NULL;
}

static int digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : 99;
}

static int suffix_shift(const char *text)
{
    if (*text == '\0') {
        return 0;
    }
    if (text[1] != '\0') {
        return -EINVAL;
    }
    switch (*text | 0x20) {
    case 'k':
        return 10;
    case 'm':
        return 20;
    case 'g':
        return 30;
    default:
        return -EINVAL;
    }
}

int args_number(const char *text, const uint64_t *figures, uint64_t *n)
{
    bool figure = *text == '@';
    int base = 10, shift;
    uint64_t value = 0;

    text += figure;
    if (text[0] == '0' && (text[1] | 0x20) == 'x') {
        base = 16;
        text += 2;
    }
    if (digit(*text) >= base) {
        return -EINVAL;
    }
    for (; digit(*text) < base; text++) {
        if (__builtin_mul_overflow(value, base, &value) ||
            __builtin_add_overflow(value, digit(*text), &value)) {
            return -ERANGE;
        }
    }
    if (figure) {
        if (figures == NULL || value >= 32 || *text != '\0') {
            return -EINVAL;
        }
        *n = figures[value];
        return 0;
    }
    shift = suffix_shift(text);
    if (shift < 0) {
        return shift;
    }
    if (value > UINT64_MAX >> shift) {
        return -ERANGE;
    }
    *n = value << shift;
    return 0;
}

int args_hex(const char *text, uint8_t *out, size_t size)
{
    size_t n = 0;

    for (; *text != '\0'; text += 2) {
        if (n == size || digit(text[0]) > 15 || digit(text[1]) > 15) {
            return -EINVAL;
        }
        out[n++] = (uint8_t)(digit(text[0]) << 4 | digit(text[1]));
    }
    return (int)n;
}

bool args_has_word(const char *list, const char *word)
{
    while (*list != '\0') {
        const char *c = word;

        while (*c != '\0' && *c == *list) {
            c++;
            list++;
        }
        if (*c == '\0' && (*list == ' ' || *list == '\0')) {
            return true;
        }
        while (*list != '\0' && *list != ' ') {
            list++;
        }
        list += *list == ' ';
    }
    return false;
}
