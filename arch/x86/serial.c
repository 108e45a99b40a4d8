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
#define LOG_POLLS_MAX 2000000   /* seconds, on any machine */

struct uart {
    uint16_t port;
    bool present;
    unsigned room;      /* bytes the transmit FIFO surely takes */
    bool stuck;         /* the other end has not read for long */
};
static struct uart com1 = { .port = COM1 }, com2 = { .port = COM2 };

/* Written by the interrupt handler of CPU 0, read by CPU 0. */
#define RING_SIZE 4096
static uint8_t ring[RING_SIZE];
static unsigned ring_head, ring_tail;
static bool ring_was_full;      /* more may wait in the UART */

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

static bool is_tx_empty(const struct uart *u)
{
    return (inb(u->port + UART_LSR) & LSR_TX_EMPTY) != 0;
}

static void uart_put(struct uart *u, char c)
{
    if (u->room == 0) {
        u->room = FIFO_DEPTH;
    }
    u->room--;
    outb(u->port + UART_DATA, (uint8_t)c);
}

/* Whoever reads the log must not hold the machine up for ever: bytes are
 * dropped while nobody takes them. */
static void log_putc(char c)
{
    if (!com1.present) {
        return;
    }
    for (unsigned polls = 0; com1.room == 0 && !is_tx_empty(&com1); polls++) {
        if (com1.stuck || polls == LOG_POLLS_MAX) {
            com1.stuck = true;
            return;
        }
        arch_relax();
    }
    com1.stuck = false;
    uart_put(&com1, c);
}

void arch_putc(char c)
{
    if (c == '\n') {
        log_putc('\r');
    }
    log_putc(c);
}

/* A reply waits for its reader: dropping a byte would garble it. */
void arch_control_putc(char c)
{
    if (!com2.present) {
        return;
    }
    while (com2.room == 0 && !is_tx_empty(&com2)) {
        arch_relax();
    }
    uart_put(&com2, c);
}

void serial_control_interrupt(void)
{
    ring_was_full = false;
    while (com2.present && (inb(COM2 + UART_LSR) & LSR_DATA_READY) != 0) {
        if (ring_head - ring_tail == RING_SIZE) {
            /* The UART's interrupt line stays up, so that no edge comes
             * until arch_control_getc() has taken what is left. */
            ring_was_full = true;
            return;
        }
        ring[ring_head++ % RING_SIZE] = inb(COM2 + UART_DATA);
    }
}

int arch_control_getc(void)
{
    if (ring_head == ring_tail && ring_was_full) {
        serial_control_interrupt();
    }
    return ring_head == ring_tail ? -1 : ring[ring_tail++ % RING_SIZE];
}
