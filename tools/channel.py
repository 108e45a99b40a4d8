"""The control channel's client: one line out, one line of JSON back."""

import json
import time


class ChannelClosed(Exception):
    """The other end has gone."""


class Channel:
    """Over a connected socket. Timeouts are in seconds."""

    def __init__(self, connection):
        self.connection = connection
        self.pending = b""

    def read(self, timeout):
        """The next reply. TimeoutError, ChannelClosed."""
        limit = time.monotonic() + timeout
        while b"\n" not in self.pending:
            left = limit - time.monotonic()
            if left <= 0:
                raise TimeoutError
            self.connection.settimeout(left)
            try:
                more = self.connection.recv(1 << 16)
            except ConnectionError as err:
                raise ChannelClosed from err
            if not more:
                raise ChannelClosed
            self.pending += more
        line, self.pending = self.pending.split(b"\n", 1)
        return json.loads(line)

    def request(self, line, timeout):
        """Send one command and wait for its reply."""
        if "\n" in line:
            raise ValueError("a command is one line")
        self.connection.settimeout(max(timeout, 0.001))
        try:
            self.connection.sendall(line.encode() + b"\n")
        except ConnectionError as err:
            raise ChannelClosed from err
        return self.read(timeout)

    def close(self):
        self.connection.close()


def has_reply(line):
    """Blank lines and comments have none."""
    return bool(line.strip()) and not line.lstrip().startswith("#")
