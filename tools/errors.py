"""What a user can act on: a message that says what is wrong and what to do."""

PACKAGES = "gcc make binutils python3 qemu-system-x86"
INSTALL = f"sudo apt-get install -y {PACKAGES}"


class UserError(Exception):
    """Printed without a traceback; @status is the command's exit status."""

    def __init__(self, text, status=1):
        super().__init__(text)
        self.status = status


def missing(program):
    """The error for a program that is not installed."""
    return UserError(f"{program} is not installed. On Debian or Ubuntu:\n"
                     f"    {INSTALL}")
