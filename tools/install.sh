#!/bin/sh
# Install what is missing on Debian or Ubuntu: a compiler, make, binutils,
# python3 and QEMU. Does nothing, and needs no rights, where all is there.
set -eu

missing=
need() { # package, and the command that shows that it is there
    command -v "$2" >/dev/null || missing="$missing $1"
}
need gcc gcc
need make make
need binutils objcopy
need python3 python3
need qemu-system-x86 qemu-system-x86_64
# The host tests use libc; the hypervisor does not.
[ -e /usr/include/stdio.h ] || missing="$missing libc6-dev"
python_is_new() {
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
        echo "python3 is too old: 3.11 or newer is needed" \
            "(Debian 12, Ubuntu 24.04)" >&2
        exit 1
    }
}
if [ -z "$missing" ]; then
    python_is_new
    exit 0
fi

if ! command -v apt-get >/dev/null; then
    echo "please install:$missing (this is not Debian: apt-get is missing)" >&2
    exit 1
fi
root=
if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || {
        echo "please install, as root:$missing" >&2
        exit 1
    }
    root=sudo
fi
echo "installing:$missing"
$root apt-get -qq update
# shellcheck disable=SC2086 # a list of words
$root env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y \
    --no-install-recommends $missing
python_is_new
