# Quire. One file, not recursive; build/ mirrors the sources:
#   build/hv/{release,debug}/       the hypervisor, freestanding
#   build/host/{asan,tsan,fast}/    common/ + arch/host as ordinary processes
#   build/guest/                    the stress domains
MAKEFLAGS += --no-builtin-rules
.DELETE_ON_ERROR:
.SUFFIXES:

# `make V=1` shows the commands.
Q := $(if $(V),,@)
say = $(if $(V),,@echo '  $(1) $(2)')

CC := gcc
LD := ld
OBJCOPY := objcopy
AR := ar
B := build
comma := ,

WARN := -Wall -Wextra -Werror -Wstrict-prototypes -Wmissing-prototypes \
        -Wvla -Wshadow -Wwrite-strings
CBASE := -std=gnu11 -O2 -g -Iinclude -MMD -MP $(WARN) -fno-strict-aliasing
FREE := -ffreestanding -fno-pic -no-pie -mno-red-zone -mno-mmx -mno-sse \
        -mno-sse2 -fno-stack-protector -fcf-protection=none \
        -fno-asynchronous-unwind-tables

COMMON := $(sort $(wildcard common/*/*.c))

.PHONY: all hv guests host test test-host test-tsan mutate check clean \
        bench bench-check baseline sweep
all: hv guests

# ---- the hypervisor -------------------------------------------------------
HV_SRC := $(COMMON) $(sort $(wildcard arch/x86/*.c arch/x86/*/*.c))
HV_ASM := $(sort $(wildcard arch/x86/*.S arch/x86/*/*.S))
HV_CFLAGS := $(CBASE) $(FREE) -Iarch/x86/include -fno-omit-frame-pointer

define hv_variant # name, extra flags
HV_OBJ_$(1) := $$(HV_SRC:%.c=$(B)/hv/$(1)/%.o) $$(HV_ASM:%.S=$(B)/hv/$(1)/%.o)
$(B)/hv/$(1)/%.o: %.c Makefile
	@mkdir -p $$(@D)
	$$(call say,CC,$$@)
	$$(Q)$$(CC) $(HV_CFLAGS) $(2) -c $$< -o $$@
$(B)/hv/$(1)/%.o: %.S Makefile
	@mkdir -p $$(@D)
	$$(call say,CC,$$@)
	$$(Q)$$(CC) $(HV_CFLAGS) $(2) -c $$< -o $$@
$(B)/hv/$(1)/quire.elf: $$(HV_OBJ_$(1)) arch/x86/quire.lds
	$$(call say,LD,$$@)
	$$(Q)$$(LD) -nostdlib -static -z max-page-size=4096 -z noexecstack \
	    -T arch/x86/quire.lds $$(HV_OBJ_$(1)) -o $$@
# Multiboot 1 takes no 64-bit ELF; the addresses are all below 4G.
$(B)/hv/$(1)/quire: $(B)/hv/$(1)/quire.elf
	$$(call say,OBJCOPY,$$@)
	$$(Q)$$(OBJCOPY) -O elf32-i386 $$< $$@
DEPS += $$(HV_OBJ_$(1):.o=.d)
endef
$(eval $(call hv_variant,release,))
$(eval $(call hv_variant,debug,-DQUIRE_DEBUG))
hv: $(B)/hv/release/quire $(B)/hv/debug/quire

# ---- stress domains: every folder of test/guest but lib is one ------------
GUEST_CFLAGS := $(CBASE) $(FREE) -Itest/guest/lib
GUESTS := $(filter-out lib,$(notdir $(patsubst %/,%,$(wildcard test/guest/*/))))
GUEST_LIB := $(patsubst %,$(B)/guest/%.o,$(basename \
    $(wildcard test/guest/lib/*.c test/guest/lib/*.S)))
$(B)/guest/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) $(GUEST_CFLAGS) -c $< -o $@
$(B)/guest/%.o: %.S Makefile
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) $(GUEST_CFLAGS) -c $< -o $@
define guest_image # name
GUEST_OBJ_$(1) := $$(patsubst %,$(B)/guest/%.o,$$(basename \
    $$(wildcard test/guest/$(1)/*.c test/guest/$(1)/*.S)))
$(B)/guest/$(1).elf: $$(GUEST_OBJ_$(1)) $$(GUEST_LIB) test/guest/lib/guest.lds
	$$(call say,LD,$$@)
	$$(Q)$$(LD) -nostdlib -static -z max-page-size=4096 -z noexecstack \
	    -T test/guest/lib/guest.lds $$(GUEST_OBJ_$(1)) $$(GUEST_LIB) -o $$@
DEPS += $$(GUEST_OBJ_$(1):.o=.d)
endef
$(foreach g,$(GUESTS),$(eval $(call guest_image,$(g))))
DEPS += $(GUEST_LIB:.o=.d)
guests: $(GUESTS:%=$(B)/guest/%.elf)

# ---- common/ on the host: each file of test/{unit,model,bench} is a program
HOST_LIB_SRC := $(COMMON) $(sort $(wildcard arch/host/*.c test/lib/*.c))
HOST_CFLAGS := $(CBASE) -Iarch/host/include -Iarch/host -Itest/lib -pthread
TESTS := $(basename $(sort $(wildcard test/unit/*.c test/model/*.c)))
BENCHES := $(basename $(sort $(wildcard test/bench/*.c)))

define host_variant # name, flags
HOST_OBJ_$(1) := $$(HOST_LIB_SRC:%.c=$(B)/host/$(1)/%.o)
$(B)/host/$(1)/%.o: %.c Makefile
	@mkdir -p $$(@D)
	$$(call say,CC,$$@)
	$$(Q)$$(CC) $(HOST_CFLAGS) $(2) -c $$< -o $$@
$(B)/host/$(1)/libquire.a: $$(HOST_OBJ_$(1))
	$$(call say,AR,$$@)
	@rm -f $$@
	$$(Q)$$(AR) rcs $$@ $$^
$(TESTS:%=$(B)/host/$(1)/%) $(BENCHES:%=$(B)/host/$(1)/%): \
    $(B)/host/$(1)/%: $(B)/host/$(1)/%.o $(B)/host/$(1)/libquire.a
	$$(call say,CC,$$@)
	$$(Q)$$(CC) $(2) -pthread $$< $(B)/host/$(1)/libquire.a -o $$@
DEPS += $$(HOST_OBJ_$(1):.o=.d) \
    $$(TESTS:%=$(B)/host/$(1)/%.d) $$(BENCHES:%=$(B)/host/$(1)/%.d)
endef
$(eval $(call host_variant,asan,-DQUIRE_DEBUG -fno-omit-frame-pointer \
    -fsanitize=address$(comma)undefined -fno-sanitize-recover=all))
$(eval $(call host_variant,tsan,-DQUIRE_DEBUG -fsanitize=thread))
$(eval $(call host_variant,fast,))
host: $(TESTS:%=$(B)/host/asan/%)
.SECONDARY:

# ---- tests ----------------------------------------------------------------
check:
	python3 tools/layercheck.py
test-host: $(TESTS:%=$(B)/host/asan/%)
	python3 tools/runtests.py $^
# Sweeps, not part of `make test`.
test-tsan: $(TESTS:%=$(B)/host/tsan/%)
	python3 tools/runtests.py --timeout 600 $^
mutate: all $(TESTS:%=$(B)/host/asan/%)
	python3 tools/mutate.py
test: all $(TESTS:%=$(B)/host/asan/%)
	python3 tools/layercheck.py
	python3 tools/runtests.py $(TESTS:%=$(B)/host/asan/%) \
	    $(sort $(wildcard test/tools/test_*.py test/boot/test_*.py))
# What it costs, in instructions: all figures of docs/performance.md (minutes);
# a few of them against the committed ones, to the instruction; those anew.
BASELINE := test/bench/baseline.json
MEASURED := docs/performance.md docs/decisions/reverse-map.md
bench: all $(B)/host/fast/test/bench/bench_share
	./quire bench all --json $(B)/bench.json
	$(B)/host/fast/test/bench/bench_share > $(B)/host.json
	python3 tools/performance.py $(MEASURED) $(B)/bench.json $(B)/host.json
bench-check: all
	./quire bench small --json $(B)/small.json
	./quire compare --exact $(BASELINE) $(B)/small.json
baseline: all
	./quire bench small --json $(BASELINE)
sweep: all
	./quire run forty-million --boot rmap=list --json $(B)/forty-list.json
	./quire run forty-million --boot rmap=adaptive --json $(B)/forty.json
	python3 tools/performance.py $(MEASURED) $(B)/forty-list.json \
	    $(B)/forty.json
	./quire bench destroy --pattern dense,random,stride256 \
	    --rmap adaptive,hash256,list,rbtree --json $(B)/sweep.json
clean:
	rm -rf $(B)

-include $(DEPS)
