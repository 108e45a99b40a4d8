/*
 * apic.h - the local APIC in xAPIC mode: timer, IPIs; and of the I/O APIC
 * the one input that the control channel's UART uses.
 */
#pragma once

#include <quire/types.h>

/** apic_init() - enable this CPU's local APIC. */
void apic_init(void);
/** apic_calibrate() - TSC and timer against the PIT, once, on the boot CPU. */
void apic_calibrate(void);
uint32_t apic_id(void);
void apic_eoi(void);
/** apic_send() - an IPI: @command is the ICR's low half. */
void apic_send(uint32_t apic_id, uint32_t command);
/** apic_stop_others() - an NMI to every other CPU that has been started. */
void apic_stop_others(void);
/** ioapic_route() - ISA interrupt @irq to @vector on this CPU. */
void ioapic_route(unsigned irq, uint8_t vector);
/** delay_us() - spin. */
void delay_us(uint64_t us);

#define ICR_FIXED 0x04000
#define ICR_NMI 0x04400
#define ICR_INIT 0x04500
#define ICR_STARTUP 0x04600
