/* entry.c - the types' names, and the rights that type and tracking give. */
#include "entry.h"

const char *p2m_type_name(enum p2m_type t)
{
    static const char *const names[NR_P2M_TYPES] = {
#define P2M_TYPE_NAME(n) #n,
        P2M_TYPES(P2M_TYPE_NAME)
#undef P2M_TYPE_NAME
    };

    return (unsigned)t < NR_P2M_TYPES ? names[t] : "?";
}

/*
 * Memory that is somebody else's or a device's is never executed. A shared
 * page is readable and executable: only writes break sharing.
 */
const uint8_t p2m_type_rights[NR_P2M_TYPES] = {
    [p2m_ram_rw] = P2M_R | P2M_W | P2M_X,
    [p2m_ram_ro] = P2M_R | P2M_X,
    [p2m_mmio_direct] = P2M_R | P2M_W,
    [p2m_ram_shared] = P2M_R | P2M_X,
    [p2m_map_foreign] = P2M_R | P2M_W,
    [p2m_ram_paging_out] = P2M_R | P2M_X,
    [p2m_grant_map_rw] = P2M_R | P2M_W,
    [p2m_grant_map_ro] = P2M_R,
};

unsigned p2m_rights(enum p2m_type t, unsigned tracking)
{
    return npte_rights(t, tracking);
}
