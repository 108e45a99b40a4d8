/*
 * sharing - a privileged domain that shares the memory of two others, by
 * XENMEM_sharing_op and foreign mappings alone, as Xen's toolstack would.
 *
 * Options: source=, client=: the ids of two paused domains with at least
 * `pages` (256) pages from gfn 0 on; only=ops|errors|forks|fuzz for one part;
 * rounds=2000 of the fuzz on each vCPU, seed=1. The two must have no guest of
 * their own: what they contain is filled, merged and verified from here.
 *
 *   phase 1   ready
 *   phase 2   errors, operations and forks, with the contents verified through
 *             foreign mappings; then garbage from all vCPUs at once. The
 *             hypervisor must answer each call; its audit must find nothing.
 *
 * Figures: 0 calls of the fuzz, 1 of them that went well.
 */
#include "sharing.h"

domid_t source, client;
uint64_t pages;

static bool is_part(const char *name)
{
    char only[16];

    option_str("only", "", only, sizeof(only));
    return only[0] == '\0' || strcmp(only, name) == 0;
}

void guest_main(void)
{
    static const struct { const char *name; void (*fn)(void); } parts[] = {
        { "errors", check_errors }, { "ops", check_ops },
        { "forks", check_forks },
    };

    source = (domid_t)option_u64("source", NO_DOMAIN);
    client = (domid_t)option_u64("client", NO_DOMAIN);
    pages = option_u64("pages", 256);
    guest_phase_report(1);
    guest_phase_wait(2);
    for (unsigned i = 0; i < ARRAY_SIZE(parts); i++) {
        if (is_part(parts[i].name)) {
            unsigned before = guest_failures();

            parts[i].fn();
            guest_printf("%s: %u failures\n", parts[i].name,
                         guest_failures() - before);
        }
    }
    if (is_part("fuzz")) {
        fuzz(option_u64("rounds", 2000), option_u64("seed", 1));
    }
    EXPECT(op_audit(), 0);
    guest_finish("sharing");
}
