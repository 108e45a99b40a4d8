/* list.h - circular doubly linked lists; the head is a node like the others. */
#pragma once

#include <quire/types.h>

struct list { struct list *next, *prev; };

#define LIST_INIT(l) { &(l), &(l) }

static inline void list_init(struct list *l) { l->next = l->prev = l; }
static inline bool list_is_empty(const struct list *l) { return l->next == l; }
static inline void list_insert_between(struct list *n, struct list *a,
                                       struct list *b)
{
    n->prev = a;
    n->next = b;
    a->next = n;
    b->prev = n;
}
static inline void list_push(struct list *head, struct list *n)
{
    list_insert_between(n, head, head->next);
}
static inline void list_append(struct list *head, struct list *n)
{
    list_insert_between(n, head->prev, head);
}
/* After this @n is a list of its own, so that a second remove is harmless. */
/** list_append_all() - what is on @from goes behind what is on @head. */
static inline void list_append_all(struct list *head, struct list *from)
{
    if (from->next != from) {
        head->prev->next = from->next;
        from->next->prev = head->prev;
        head->prev = from->prev;
        from->prev->next = head;
        list_init(from);
    }
}

static inline void list_remove(struct list *n)
{
    n->prev->next = n->next;
    n->next->prev = n->prev;
    list_init(n);
}
static inline struct list *list_pop(struct list *head)
{
    struct list *n = head->next;
    if (n == head) {
        return NULL;
    }
    list_remove(n);
    return n;
}
#define list_for_each(n, head) \
    for (struct list *n = (head)->next; n != (head); n = n->next)
#define list_for_each_safe(n, head) \
    for (struct list *n = (head)->next, *n##_next = n->next; n != (head); \
         n = n##_next, n##_next = n->next)
