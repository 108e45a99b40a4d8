/* serial.c - two 16550 UARTs; see serial.h. */
#include "serial.h"

#include <quire/arch.h>

#include "cpu_ops.h"

#define COM1 0x3f8
#define COM2 0x2f8

#define UART_DATA 0
#define UART_IER 1
#define UART_FCR 2
#define UART_LCR 3
#define UART_MCR 4
#define UART_LSR 5
#define LSR_DATA_READY 0x01
#define LSR_TX_EMPTY 0x20
#define FIFO_DEPTH 16

struct uart {
    uint16_t port;
    bool present;
    unsigned room;      /* bytes the transmit FIFO surely takes */
};
static struct uart com1 = { .port = COM1 }, com2 = { .port = COM2 };

/* Written by the interrupt handler of CPU 0, read by CPU 0. */
#define RING_SIZE 4096
static uint8_t ring[RING_SIZE];
static unsigned ring_head, ring_tail;

static void uart_init(struct uart *u, uint8_t interrupts)
{
    outb(u->port + UART_IER, 0);
    outb(u->port + UART_LCR, 0x80);     /* the divisor: 115200 baud */
    outb(u->port + UART_DATA, 1);
    outb(u->port + UART_IER, 0);
    outb(u->port + UART_LCR, 0x03);     /* 8N1 */
    outb(u->port + UART_FCR, 0x07);     /* FIFOs on, an interrupt a byte */
    outb(u->port + UART_MCR, 0x0b);     /* DTR RTS OUT2 */
    outb(u->port + UART_IER, interrupts);
    u->present = inb(u->port + UART_LSR) != 0xff;
}

void serial_init(void)
{
    uart_init(&com1, 0);
    uart_init(&com2, 0x01);
}

static void uart_putc(struct uart *u, char c)
{
    if (!u->present) {
        return;
    }
    if (u->room == 0) {
        while ((inb(u->port + UART_LSR) & LSR_TX_EMPTY) == 0) {
            arch_relax();
        }
        u->room = FIFO_DEPTH;
    }
    u->room--;
    outb(u->port + UART_DATA, (uint8_t)c);
}

void arch_putc(char c)
{
    if (c == '\n') {
        uart_putc(&com1, '\r');
    }
    uart_putc(&com1, c);
}

void arch_control_putc(char c)
{
    uart_putc(&com2, c);
}

void serial_control_interrupt(void)
{
    while (com2.present && (inb(COM2 + UART_LSR) & LSR_DATA_READY) != 0 &&
           ring_head - ring_tail < RING_SIZE) {
        ring[ring_head++ % RING_SIZE] = inb(COM2 + UART_DATA);
    }
}

int arch_control_getc(void)
{
    if (ring_head == ring_tail) {
        /* What did not fit the ring waits in the UART. */
        serial_control_interrupt();
    }
    return ring_head == ring_tail ? -1 : ring[ring_tail++ % RING_SIZE];
}
