/* test_list.c - circular lists keep their order and their ends. */
#include "test.h"

#include <quire/list.h>

struct item { struct list link; int n; };

static int first_of(struct list *head)
{
    return container_of(head->next, struct item, link)->n;
}

static int last_of(struct list *head)
{
    return container_of(head->prev, struct item, link)->n;
}

TEST(push_and_append_go_to_the_two_ends)
{
    struct list head = LIST_INIT(head);
    struct item a = { .n = 1 }, b = { .n = 2 }, c = { .n = 3 };

    CHECK(list_is_empty(&head));
    list_push(&head, &a.link);
    list_push(&head, &b.link);
    list_append(&head, &c.link);
    CHECK_EQ(first_of(&head), 2);
    CHECK_EQ(last_of(&head), 3);
    CHECK_EQ(container_of(list_pop(&head), struct item, link)->n, 2);
    CHECK_EQ(container_of(list_pop(&head), struct item, link)->n, 1);
    CHECK_EQ(container_of(list_pop(&head), struct item, link)->n, 3);
    CHECK(list_pop(&head) == NULL);
}

TEST(second_remove_is_harmless)
{
    struct list head = LIST_INIT(head);
    struct item a = { .n = 1 }, b = { .n = 2 };

    list_append(&head, &a.link);
    list_append(&head, &b.link);
    list_remove(&a.link);
    list_remove(&a.link);
    CHECK_EQ(first_of(&head), 2);
    CHECK_EQ(last_of(&head), 2);
    list_remove(&b.link);
    CHECK(list_is_empty(&head));
    CHECK(list_is_empty(&a.link));
}

TEST(safe_walk_survives_removal_of_each)
{
    struct list head = LIST_INIT(head);
    struct item items[5];
    int sum = 0;

    for (int i = 0; i < 5; i++) {
        items[i].n = i;
        list_append(&head, &items[i].link);
    }
    list_for_each_safe(l, &head) {
        sum = sum * 10 + container_of(l, struct item, link)->n;
        list_remove(l);
    }
    CHECK_EQ(sum, 1234);
    CHECK(list_is_empty(&head));
}
