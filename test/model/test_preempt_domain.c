/*
 * test_preempt_domain.c - the preemption matrix (preempt.h) of whole domains:
 * creation and its undoing, memory added, forks, resets, kills, event
 * channels, and a toolstack domain's calls.
 */
#include "preempt.h"
#include "test.h"
#include "test_caller.h"
#include "test_image.h"

#include "../../common/domain/sharing_op.h"

#include <quire/owner.h>

enum { PAGES = 20 };

static struct domain *keep, *d, *child;
static uint64_t gone, held;

static struct domain *filled(const char *name, unsigned vcpus)
{
    struct domain_config c = test_config(name, PAGES);

    c.nr_vcpus = vcpus;
    c.max_pages = 4 * PAGES;
    struct domain *x = test_create(&c);

    for (unsigned i = 0; i < PAGES; i++) {
        test_fill(p2m_lookup(x->p2m, GFN(i)).mfn, 1000 * x->id + i);
    }
    return x;
}

static void world(void)
{
    test_machine(4096, 1);
    keep = filled("keep", 1);
    d = child = NULL;
    gone = held = 0;
}

static void end_domain(struct domain **x)
{
    if (*x != NULL) {
        test_kill(*x);
        *x = NULL;
        test_settle();
    }
}

static void finish(void)
{
    end_domain(&child);
    end_domain(&d);
    end_domain(&keep);
    CHECK(test_run_idle());
    test_settle();
    CHECK_EQ(domain_nr_unfreed(), 0);
    CHECK_EQ(test_heap_objects(), 0);
    test_share_all_gone();
}

static uint64_t reply_gone(void)
{
    return gone << 32 | held;
}

/* ---- creation ------------------------------------------------------------ */

static struct domain_config config;
static struct domain *being_made;

static int step_create(struct work *w)
{
    int err = domain_create(&config, &being_made, NULL, w);

    if (err == 0) {
        d = being_made;
        domain_get(d);
    }
    return err;
}

static void begin_create(void)
{
    world();
    being_made = NULL;
    config = test_config("made", 1034);
    config.nr_vcpus = 3;
    config.superpages = true;
    config.nr_ranges = 3;
    config.ranges[1] = (struct domain_range){ GFN(0x100000), 12 };
    config.ranges[2] = (struct domain_range){ GFN(0x200400), 512 };
}

TEST(each_check_of_domain_create)
{
    preempt_matrix(&(struct preempt_case){
        .begin = begin_create, .step = step_create, .end = finish,
        .by_itself = true, .one_in = 9 });
}

/* With an image, a command line and a module, which are copied. */
static void begin_load(void)
{
    static const char text[3 * PAGE_SIZE] = "module";
    static const struct boot_module modules[] = {
        { "kernel", "", image, sizeof(image) },
        { "module", "words", text, sizeof(text) } };
    static bool is_done;

    if (!is_done) {
        make_image();
        boot_module_register(&modules[0]);
        boot_module_register(&modules[1]);
        is_done = true;
    }
    begin_create();
    config.superpages = false;
    config.nr_ranges = 1;
    config.ranges[0].nr = 300;
    config.image = "kernel";
    config.modules[0] = "module";
    config.nr_modules = 1;
    strcpy(config.cmdline, "some words");
}

TEST(each_check_of_loading_an_image)
{
    preempt_matrix(&(struct preempt_case){
        .begin = begin_load, .step = step_create, .end = finish,
        .one_in = 5 });
}

/* Its last pages are more than there are: all of it is undone. */
static void begin_create_too_much(void)
{
    begin_create();
    config.superpages = false;
    config.ranges[0].nr = 30;
    config.ranges[2].nr = 3800;
}

TEST(each_check_of_a_creation_that_fails)
{
    preempt_matrix(&(struct preempt_case){
        .begin = begin_create_too_much, .step = step_create, .end = finish,
        .one_in = 29 });
}

static void begin_populate(void)
{
    world();
    gone = 0;
}

static int step_populate(struct work *w)
{
    return domain_populate(keep, GFN(500), 40, &gone, w);
}

TEST(each_check_of_domain_populate)
{
    preempt_matrix(&(struct preempt_case){
        .begin = begin_populate, .step = step_populate, .end = finish,
        .reply = reply_gone });
}

/* ---- kills --------------------------------------------------------------- */

static int step_kill(struct work *w)
{
    int err = domain_kill(d, w);

    if (err == 0) {
        gone = d->kill.gfns;
        domain_put(d);
        d = NULL;
    }
    return err;
}

/* Shared, private, far apart, in a superpage, held by somebody; channels. */
static void begin_kill_on(bool is_shadow)
{
    evtchn_port_t port;
    uint64_t done = 0;

    world();
    struct domain_config c = test_config("victim", PAGES);

    c.nr_ranges = 4;
    c.nr_vcpus = 2;
    c.shadow = is_shadow;
    c.superpages = true;
    c.max_pages = 2000;
    c.ranges[1] = (struct domain_range){ GFN(1024), 512 };
    c.ranges[2] = (struct domain_range){ GFN(0x100000), 3 };
    c.ranges[3] = (struct domain_range){ GFN(UINT64_C(1) << 30), 5 };
    d = test_create(&c);
    for (unsigned i = 0; i < PAGES; i += 2) {
        CHECK_EQ(test_share(keep->p2m, i, d->p2m, i), 0);
    }
    CHECK_EQ(share_add_physmap_range(keep->p2m, GFN(3),
                                     test_nominate(keep->p2m, 3), d->p2m,
                                     GFN(5000), 70, 1, &done, NULL), 0);
    for (unsigned i = 0; i < 6; i++) {
        CHECK_EQ(evtchn_alloc_unbound(d->events, keep->id, &port), 0);
    }
    CHECK_EQ(evtchn_bind_interdomain(keep->events, d->events, port, 0,
                                     &port), 0);
}

static void begin_kill(void)
{
    begin_kill_on(false);
}

static void begin_kill_shadow(void)
{
    begin_kill_on(true);
    CHECK(atomic_load(&d->shadow) != NULL);
}

static void write_keep(unsigned i)
{
    test_share_write(keep->p2m, i, 9000 + i);
}

TEST(each_check_of_domain_kill)
{
    preempt_matrix(&(struct preempt_case){
        .begin = begin_kill, .step = step_kill, .other = write_keep,
        .end = finish, .reply = reply_gone });
}

TEST(each_check_of_killing_a_domain_on_the_shadow)
{
    preempt_matrix(&(struct preempt_case){
        .begin = begin_kill_shadow, .step = step_kill, .other = write_keep,
        .end = finish, .reply = reply_gone });
}

/* The kill's own task, and another caller at each interruption. */
static int step_kill_task(struct work *w)
{
    domain_kill_async(d);
    CHECK(task_run_slice(w));
    if (atomic_load(&d->state) != DOMAIN_DEAD) {
        return -ERESTART;
    }
    gone = d->kill.gfns;
    domain_put(d);
    d = NULL;
    return 0;
}

static void kill_beside(unsigned i)
{
    struct work w = { .left = 100 * i };

    if (d != NULL) {
        (void)!domain_kill(d, &w);
    }
}

TEST(each_check_of_a_kill_by_several)
{
    preempt_matrix(&(struct preempt_case){
        .begin = begin_kill, .step = step_kill_task, .other = kill_beside,
        .end = finish, .reply = reply_gone });
}

static void begin_events(void)
{
    begin_kill();
}

static int step_events(struct work *w)
{
    return evtchn_reset(d->events, w);
}

TEST(each_check_of_evtchn_reset)
{
    preempt_matrix(&(struct preempt_case){
        .begin = begin_events, .step = step_events, .end = finish });
}

/* ---- forks --------------------------------------------------------------- */

static const struct fork_config fork_config = { .name = "child",
                                                .id = DOMID_INVALID };

static void begin_fork(void)
{
    begin_kill();
    /* One page that cannot be shared: somebody else has it. */
    held = p2m_lookup(d->p2m, GFN(1)).mfn.n;
    CHECK_EQ(frame_get(mfn_to_frame(MFN(held)), d->id), 0);
    being_made = NULL;
}

static void let_go(void)
{
    if (held != 0) {
        frame_put(mfn_to_frame(MFN(held)));
    }
    held = 0;
    finish();
}

static int step_fork(struct work *w)
{
    int err = domain_fork(d, &fork_config, &being_made, NULL, w);

    if (err == 0) {
        child = being_made;
        domain_get(child);
    }
    return err;
}

TEST(each_check_of_domain_fork)
{
    preempt_matrix(&(struct preempt_case){
        .begin = begin_fork, .step = step_fork, .other = write_keep,
        .end = let_go });
}

/* Killed while it is made: the parent is as it was. */
static int step_fork_killed(struct work *w)
{
    int err = domain_fork(d, &fork_config, &being_made, NULL, w);

    if (being_made != NULL && being_made->p2m != NULL &&
        being_made->p2m->count[p2m_ram_shared] > 30) {
        atomic_store(&being_made->kill_wanted, true);
    }
    return err;
}

static void begin_fork_killed(void)
{
    struct work w = { .left = 1 };

    begin_fork();
    while (being_made == NULL || !atomic_load(&being_made->kill_wanted)) {
        CHECK_EQ(step_fork_killed(&w), -ERESTART);
        w.left = 1;
    }
}

TEST(each_check_of_a_fork_undone)
{
    preempt_matrix(&(struct preempt_case){
        .begin = begin_fork_killed, .step = step_fork, .other = write_keep,
        .end = let_go });
}

static void begin_reset(void)
{
    uint64_t done = 0;

    begin_fork();
    CHECK_EQ(step_fork(NULL), 0);
    for (unsigned i = 0; i < PAGES; i += 3) {
        test_share_write(child->p2m, i, 70 + i);
        CHECK_EQ(domain_remove_gfn(child, GFN(5000 + i)), 0);
    }
    CHECK_EQ(domain_populate(child, GFN(7000), 12, &done, NULL), 0);
}

static int step_reset(struct work *w)
{
    return domain_fork_reset(child, RESET_ALL, w);
}

/* The parent writes what the child is given back. */
static void write_parent(unsigned i)
{
    test_share_write(d->p2m, 2 * i, 4000 + i);
}

TEST(each_check_of_domain_fork_reset)
{
    preempt_matrix(&(struct preempt_case){
        .begin = begin_reset, .step = step_reset, .other = write_parent,
        .end = let_go });
}

static int step_kill_child(struct work *w)
{
    int err = domain_kill(child, w);

    if (err == 0) {
        domain_put(child);
        child = NULL;
    }
    return err;
}

TEST(each_check_of_killing_a_fork)
{
    preempt_matrix(&(struct preempt_case){
        .begin = begin_reset, .step = step_kill_child, .other = write_parent,
        .end = let_go });
}

/* The parent goes while its fork lives, and after a reset half done. */
static void begin_kill_parent(void)
{
    struct work w = { .left = 2000 };

    begin_reset();
    CHECK_EQ(step_reset(&w), -ERESTART);
    frame_put(mfn_to_frame(MFN(held)));
    held = 0;
}

static void write_child(unsigned i)
{
    CHECK_EQ(guest_write_gpa(child->p2m, (2 * i) << 12, &i, 4, &gone), 0);
}

TEST(each_check_of_killing_a_parent)
{
    preempt_matrix(&(struct preempt_case){
        .begin = begin_kill_parent, .step = step_kill, .other = write_child,
        .end = let_go });
}

static int step_kill_half_reset(struct work *w)
{
    return step_kill_child(w);
}

TEST(each_check_of_killing_a_fork_half_reset)
{
    preempt_matrix(&(struct preempt_case){
        .begin = begin_kill_parent, .step = step_kill_half_reset,
        .end = finish });
}

/* ---- audits of domains --------------------------------------------------- */

static struct domain_audit domains;
static struct share_base_audit base;

static void begin_audit(void)
{
    begin_reset();
    memset(&domains, 0, sizeof(domains));
    memset(&base, 0, sizeof(base));
}

static int step_audit(struct work *w)
{
    return domain_audit_run(&domains, w);
}

static int step_base_audit(struct work *w)
{
    return share_base_audit(child->p2m, &base, w);
}

static uint64_t reply_audit(void)
{
    return domains.bad << 16 | base.bad << 8 | base.changed;
}

TEST(each_check_of_domain_audit)
{
    preempt_matrix(&(struct preempt_case){
        .begin = begin_audit, .step = step_audit, .end = let_go,
        .reply = reply_audit, .by_itself = true });
}

TEST(each_check_of_share_base_audit)
{
    preempt_matrix(&(struct preempt_case){
        .begin = begin_audit, .step = step_base_audit, .end = let_go,
        .reply = reply_audit, .by_itself = true });
}

/* ---- a toolstack's calls ------------------------------------------------- */

static struct xen_mem_sharing_op op;

static void begin_call(void)
{
    begin_kill();
    make_caller(true, false);
}

static void end_call(void)
{
    end_domain(&caller);
    finish();
}

static int step_call(struct work *w)
{
    return (int)sharing_op_run(caller_vcpu, &op, w);
}

static uint64_t reply_call(void)
{
    CHECK(caller_vcpu->sharing == NULL);
    return op.op == XENMEM_sharing_op_range_share ? op.u.range.opaque : 0;
}

static void begin_op_range(void)
{
    begin_call();
    op = range_op(d, keep, 0, PAGES - 1);
}

static void begin_op_share(void)
{
    begin_call();
    uint64_t a = test_nominate(keep->p2m, 5), b = test_nominate(d->p2m, 5000);

    op = pair_op(XENMEM_sharing_op_share, keep, 5, a, d, 5000, b);
}

static void begin_op_fork(void)
{
    begin_call();
    op = fork_op(d, 0);
}

/* The child goes with its world. */
static int step_op_fork(struct work *w)
{
    int64_t err = sharing_op_run(caller_vcpu, &op, w);

    if (err == 0) {
        child = domain_find(op.domain);
        CHECK(child != NULL);
    }
    return (int)err;
}

static void begin_op_reset(void)
{
    begin_call();
    CHECK_EQ(test_fork(d, "child", 0, 0, &child), 0);
    for (unsigned i = 0; i < PAGES; i += 3) {
        test_share_write(child->p2m, i, 70 + i);
    }
    op = reset_op(child, RESET_ALL);
}

static void begin_op_audit(void)
{
    begin_call();
    op = op_on(XENMEM_sharing_op_audit, keep);
}

TEST(each_check_of_sharing_op)
{
    static void (*const begins[])(void) = {
        begin_op_range, begin_op_share, begin_op_reset };

    for (unsigned i = 0; i < ARRAY_SIZE(begins); i++) {
        preempt_matrix(&(struct preempt_case){
            .begin = begins[i], .step = step_call, .end = end_call,
            .reply = reply_call });
    }
    preempt_matrix(&(struct preempt_case){
        .begin = begin_op_fork, .step = step_op_fork, .end = end_call,
        .reply = reply_call });
    preempt_matrix(&(struct preempt_case){
        .begin = begin_op_audit, .step = step_call, .end = end_call,
        .reply = reply_call, .by_itself = true, .one_in = 9 });
}

/* A caller that dies in the middle of each: its kill gives the call up. */
static void half_done(void (*begin)(void), int64_t units)
{
    struct work w = { .left = units };

    begin();
    for (unsigned i = 0; i < 2; i++) {
        (void)!sharing_op_run(caller_vcpu, &op, &w);
        w.left = units;
    }
    CHECK(caller_vcpu->sharing != NULL);
}

static void begin_dying_fork(void) { half_done(begin_op_fork, 8000); }
static void begin_dying_reset(void) { half_done(begin_op_reset, 900); }
static void begin_dying_range(void) { half_done(begin_op_range, 900); }
static void begin_dying_share(void) { half_done(begin_op_share, 900); }
static void begin_dying_audit(void) { half_done(begin_op_audit, 900); }

static int step_kill_caller(struct work *w)
{
    int err = domain_kill(caller, w);

    if (err == 0) {
        domain_put(caller);
        caller = NULL;
    }
    return err;
}

TEST(each_check_of_a_dying_caller)
{
    static void (*const begins[])(void) = {
        begin_dying_fork, begin_dying_reset, begin_dying_range,
        begin_dying_share, begin_dying_audit };

    for (unsigned i = 0; i < ARRAY_SIZE(begins); i++) {
        preempt_matrix(&(struct preempt_case){
            .begin = begins[i], .step = step_kill_caller,
            .end = finish });
    }
}
