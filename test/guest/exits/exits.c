/*
 * exits - every way into the hypervisor once, by the book: CPUID, MSRs,
 * control registers, ports and string I/O, MMIO on holes, HLT, PAUSE, and each
 * hypercall with good and with bad arguments. It is the conformance test of
 * the guest ABI (docs/guest-abi.md): each reply is compared with what Xen's
 * interface promises, errors included. hostile is the one that does not play
 * by the book.
 *
 * Options: only=cpu|io|calls|events to run one part.
 */
#include "exits.h"

void guest_main(void)
{
    static const struct { const char *name; void (*fn)(void); } parts[] = {
        { "cpu", check_cpu }, { "io", check_io }, { "calls", check_calls },
        { "events", check_events },
    };
    char only[16];

    option_str("only", "", only, sizeof(only));
    for (unsigned i = 0; i < ARRAY_SIZE(parts); i++) {
        unsigned before = guest_failures();

        if (only[0] != '\0' && strcmp(only, parts[i].name) != 0) {
            continue;
        }
        parts[i].fn();
        guest_printf("%s: %u failures\n", parts[i].name,
                     guest_failures() - before);
    }
    guest_finish("exits");
}
