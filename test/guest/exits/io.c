/*
 * io.c - ports and guest-physical addresses with nothing behind them: reads
 * give all ones, writes go nowhere, and the registers of string instructions
 * end as the manual says.
 */
#include "exits.h"

#define PORT 0x3a5              /* no device, now or later */
#define HOLE UINT64_C(0xf1000000)   /* in the MMIO gap below 4G */

static void check_ports(void)
{
    CHECK(inb(PORT) == 0xff, "inb %x", inb(PORT));
    CHECK(inw(PORT) == 0xffff, "inw %x", inw(PORT));
    CHECK(inl(PORT) == 0xffffffff, "inl %x", inl(PORT));
    outb(PORT, 0x12);
    outw(PORT, 0x1234);
    outl(PORT, 0x12345678);
    CHECK(inb(PORT) == 0xff, "a write to a port was kept");

    uint64_t rax = UINT64_C(0x1122334455667788);
    asm volatile("inb %w1, %b0" : "+a"(rax) : "d"(PORT));
    CHECK(rax == UINT64_C(0x11223344556677ff), "inb made RAX %lx", rax);
    rax = UINT64_C(0x1122334455667788);
    asm volatile("inl %w1, %k0" : "+a"(rax) : "d"(PORT));
    CHECK(rax == UINT64_C(0xffffffff), "inl made RAX %lx", rax);
}

static void check_string_ports(void)
{
    static uint8_t buf[64];
    void *p = buf;
    uint64_t n = 10;

    memset(buf, 0, sizeof(buf));
    asm volatile("rep insb" : "+D"(p), "+c"(n) : "d"(PORT) : "memory");
    CHECK(n == 0 && p == buf + 10, "rep insb: rcx %lu rdi +%lu", n,
          GVA(p) - GVA(buf));
    CHECK(buf[9] == 0xff && buf[10] == 0, "rep insb: wrong bytes");

    p = buf + 16;
    n = 5;
    asm volatile("rep insl" : "+D"(p), "+c"(n) : "d"(PORT) : "memory");
    CHECK(n == 0 && p == buf + 36, "rep insl: rcx %lu rdi +%lu", n,
          GVA(p) - GVA(buf));
    CHECK(buf[35] == 0xff && buf[36] == 0, "rep insl: wrong bytes");

    p = buf + 50;
    asm volatile("std; insw; cld" : "+D"(p) : "d"(PORT) : "memory");
    CHECK(p == buf + 48, "std; insw: rdi +%lu", GVA(p) - GVA(buf));
    CHECK(buf[50] == 0xff && buf[51] == 0xff, "std; insw: wrong bytes");

    p = buf;
    n = 20;
    asm volatile("rep outsw" : "+S"(p), "+c"(n) : "d"(PORT) : "memory");
    CHECK(n == 0 && p == buf + 40, "rep outsw: rcx %lu rsi +%lu", n,
          GVA(p) - GVA(buf));
    n = 0;
    asm volatile("rep outsb" : "+S"(p), "+c"(n) : "d"(PORT) : "memory");
    CHECK(n == 0 && p == buf + 40, "rep outsb of nothing did something");
}

static void check_hole_reads(void)
{
    volatile uint8_t *b = (void *)(uintptr_t)HOLE;
    uint64_t rax;

    CHECK(*b == 0xff, "byte %x", *b);
    CHECK(*(volatile uint16_t *)(b + 2) == 0xffff, "word");
    CHECK(*(volatile uint32_t *)(b + 4) == 0xffffffff, "dword");
    CHECK(*(volatile uint64_t *)(b + 8) == ~UINT64_C(0), "qword");
    asm volatile("movzbl (%1), %k0" : "=r"(rax) : "r"(b));
    CHECK(rax == 0xff, "movzbl %lx", rax);
    asm volatile("movsbq (%1), %0" : "=r"(rax) : "r"(b));
    CHECK(rax == ~UINT64_C(0), "movsbq %lx", rax);
    rax = UINT64_C(0x1122334455667788);
    asm volatile("movb (%1), %b0" : "+q"(rax) : "r"(b));
    CHECK(rax == UINT64_C(0x11223344556677ff), "movb %lx", rax);
    asm volatile("movl (%1), %k0" : "+r"(rax) : "r"(b));
    CHECK(rax == 0xffffffff, "movl %lx", rax);
    asm volatile("movq %1, %0" : "=r"(rax) : "m"(*(volatile uint64_t *)
                                                  (b + 16)));
    CHECK(rax == ~UINT64_C(0), "movq %lx", rax);
}

static void check_hole_writes(void)
{
    volatile uint64_t *q = (void *)(uintptr_t)HOLE;
    void *p = (void *)(uintptr_t)HOLE;
    uint64_t n = 600;
    bool zero;

    *q = 0x1234;
    CHECK(*q == ~UINT64_C(0), "a write to a hole was kept");
    asm volatile("movb $5, (%0)" : : "r"(q) : "memory");
    asm volatile("movl $5, 4(%0)" : : "r"(q) : "memory");
    asm volatile("addq $1, (%1)" : "=@ccz"(zero) : "r"(q) : "memory");
    CHECK(zero, "all ones + 1 is not 0");
    asm volatile("testl $1, (%1)" : "=@ccz"(zero) : "r"(q) : "memory");
    CHECK(!zero, "test of all ones");
    asm volatile("cmpq $-1, (%1)" : "=@ccz"(zero) : "r"(q) : "memory");
    CHECK(zero, "cmp with all ones");
    asm volatile("rep stosq" : "+D"(p), "+c"(n) : "a"(7) : "memory");
    CHECK(n == 0 && GVA(p) == HOLE + 4800, "rep stosq: rcx %lu rdi %lx", n,
          GVA(p));
    CHECK(q[599] == ~UINT64_C(0), "rep stosq was kept");
}

/* Into RAM from a hole, and back: one side of the move exists. */
static void check_hole_moves(void)
{
    static uint64_t buf[16];
    void *to = buf, *from = (void *)(uintptr_t)HOLE;
    uint64_t n = 8;

    memset(buf, 0, sizeof(buf));
    asm volatile("rep movsq" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
    CHECK(n == 0 && to == buf + 8 && GVA(from) == HOLE + 64,
          "rep movsq from a hole: rcx %lu", n);
    CHECK(buf[7] == ~UINT64_C(0) && buf[8] == 0,
          "rep movsq from a hole: wrong words");
    to = (void *)(uintptr_t)HOLE;
    from = buf;
    n = 16;
    asm volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
    CHECK(n == 0 && GVA(to) == HOLE + 16, "rep movsb to a hole: rcx %lu", n);
}

/* The first gfn above all RAM is a hole as well. */
static void check_above_ram(void)
{
    uint64_t gpa = MAX(memory_top() << PAGE_SHIFT, UINT64_C(1) << 32);
    volatile uint64_t *q = (void *)(uintptr_t)gpa;

    memory_map(gpa, PAGE_SIZE);
    CHECK(*q == ~UINT64_C(0), "above RAM: %lx", *q);
    *q = 1;
    CHECK(*q == ~UINT64_C(0), "above RAM: a write was kept");
}

void check_io(void)
{
    check_ports();
    check_string_ports();
    check_hole_reads();
    check_hole_writes();
    check_hole_moves();
    check_above_ram();
}
