"""A command under a terminal, as somebody who types: what it shows, and what is typed when it asks."""

import os
import pty
import select
import time

from conftest import DEADLINE_S


class Terminal:
    def __init__(self, command, cwd, env):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.chdir(cwd)
            os.execve(command[0], command, env)
        self.shown = ""

    def read(self, until):
        """All up to where `until` stands behind what was shown before; fails when the time is over."""
        end, seen = time.monotonic() + 3 * DEADLINE_S, len(self.shown)
        while until not in self.shown[seen:]:
            left = end - time.monotonic()
            assert left > 0, f"no {until!r} in {self.shown!r}"
            if not select.select([self.fd], [], [], left)[0]:
                continue
            try:
                piece = os.read(self.fd, 65536)
            except OSError:
                piece = b""
            assert piece, f"it ended before {until!r}: {self.shown!r}"
            self.shown += piece.decode(errors="replace")
        return self.shown[seen:]

    def type(self, text):
        os.write(self.fd, text.encode())

    def close(self):
        try:
            os.killpg(self.pid, 9)
        except ProcessLookupError:
            pass
        os.waitpid(self.pid, 0)
        os.close(self.fd)
