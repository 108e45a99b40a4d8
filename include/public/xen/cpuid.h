/*
 * cpuid.h - the hypervisor leaves and the MSR of Xen's public ABI. The leaves
 * start at 0x40000000 (or the next multiple of 0x100, when another interface
 * is offered first).
 */
#pragma once

#define XEN_CPUID_FIRST_LEAF 0x40000000
#define XEN_CPUID_LEAF(i) (XEN_CPUID_FIRST_LEAF + (i))

/* Leaf 0: EAX = highest leaf, EBX ECX EDX = "XenVMMXenVMM". */
#define XEN_CPUID_SIGNATURE_EBX 0x566e6558  /* "XenV" */
#define XEN_CPUID_SIGNATURE_ECX 0x65584d4d  /* "MMXe" */
#define XEN_CPUID_SIGNATURE_EDX 0x4d4d566e  /* "nVMM" */

/* Leaf 1: EAX = major << 16 | minor. */

/* Leaf 2: EAX = hypercall pages, EBX = the MSR that installs them, ECX and
 * EDX = feature flags. */
#define XEN_CPUID_FEAT1_MMU_PT_UPDATE_PRESERVE_AD (1u << 0)

/* Leaf 3: time. Sub-leaf 0: EAX flags, EBX TSC mode, ECX guest TSC in kHz, EDX
 * incarnation. Sub-leaf 1: EAX EBX = offset, ECX = mul, EDX = shift. */

/* Leaf 4: EAX = HVM features; EBX = vCPU id and ECX = domain id where the bit
 * says that they are present. */
#define XEN_HVM_CPUID_APIC_ACCESS_VIRT (1u << 0)
#define XEN_HVM_CPUID_X2APIC_VIRT (1u << 1)
#define XEN_HVM_CPUID_IOMMU_MAPPINGS (1u << 2)
#define XEN_HVM_CPUID_VCPU_ID_PRESENT (1u << 3)
#define XEN_HVM_CPUID_DOMID_PRESENT (1u << 4)
#define XEN_HVM_CPUID_EXT_DEST_ID (1u << 5)
#define XEN_HVM_CPUID_UPCALL_VECTOR (1u << 6)

#define XEN_CPUID_MAX_NUM_LEAVES 5

/* Writing gpa | page index fills that page with hypercall stubs. */
#define XEN_MSR_HYPERCALL_PAGE 0x40000000
