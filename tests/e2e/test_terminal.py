"""The command line in a terminal: top on a screen of its own, colours where they are wanted, completion in a
real bash, pipes whose reader leaves."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time

import pytest
from conftest import BIN, DEADLINE_S, free_port, tiny_yaml

CATNAP = str(BIN / "catnap")
COLOUR = re.compile(rb"\x1b\[\d*m")


class Terminal:
    """A program on a terminal of ours; `seen` is all that it wrote."""

    def __init__(self, api, *words, env=None, columns=100, rows=20):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ.pop("NO_COLOR", None)
            os.environ.update({"CATNAP_API": api, "TERM": "xterm", **(env or {})})
            os.execv(CATNAP, [CATNAP, *words])
        self.resize(columns, rows)
        self.seen = b""

    def resize(self, columns, rows):
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def wait(self, needle, since=0):
        end = time.monotonic() + DEADLINE_S
        while needle not in self.seen[since:]:
            if not select.select([self.fd], [], [], max(0, end - time.monotonic()))[0]:
                pytest.fail(f"waited in vain for {needle}: {self.seen[since:]}")
            try:
                piece = os.read(self.fd, 65536)
            except OSError:  # the other end is closed
                piece = b""
            if not piece:
                pytest.fail(f"it ended before {needle}: {self.seen[since:]}")
            self.seen += piece
        return len(self.seen)

    def type(self, keys):
        at = len(self.seen)
        os.write(self.fd, keys)
        return at

    def end(self):
        """Its exit status, once it has written its last."""
        try:
            while piece := os.read(self.fd, 65536):
                self.seen += piece
        except OSError:
            pass
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def lines(self, since=0):
        """The last whole frame, as text."""
        frame = self.seen[since:].split(b"\x1b[H")[-1].split(b"\x1b[J")[0]
        return re.sub(rb"\x1b\[[?\d]*\w", b"", frame).decode().replace("\r", "").split("\n")


FRAME_END = b"\x1b[?2026l"


def test_top_shows_changes_as_they_come(catnap, tiny):
    port = free_port()
    catnap.up(tiny_yaml(tiny, publish=port, doze_after="never", scaledown_window="never"))
    top = Terminal(catnap.api, "top")
    at = top.wait(b"asleep\x1b")
    assert top.seen.startswith(b"\x1b[?1049h"), "a screen of its own"
    assert COLOUR.search(top.seen)
    assert catnap.get(port).status == 200
    at = top.wait(b"awake 0/1", at)
    at = top.type(b"a")
    at = top.wait(b"a all", at)
    top.resize(40, 10)
    top.wait(FRAME_END, top.wait(b"STATE", at))
    assert all(len(line) <= 40 for line in top.lines()), top.lines()
    top.type(b"q")
    assert top.end() == 0
    assert top.seen.endswith(b"\x1b[?1049l"), "and what was there before comes back"


def test_top_scrolls_and_sorts(catnap, tiny):
    for i in range(12):
        catnap.up(tiny_yaml(tiny, app=f"app{i:02}"))
    catnap.cli("wake", "app11")
    top = Terminal(catnap.api, "top", rows=10)
    top.wait(b"1-5 of 12")
    assert [line[:5] for line in top.lines()[3:8]] == ["app00", "app01", "app02", "app03", "app04"]
    top.wait(b"2-6 of 12", top.type(b"\x1b[B"))
    top.wait(b"8-12 of 12", top.type(b"\x1b[F"))
    top.wait(FRAME_END, top.wait(b"1-5 of 12", top.type(b"\x1b[Hm")))
    assert top.lines()[3].startswith("app11"), "what has memory comes first"
    os.kill(top.pid, signal.SIGINT)
    assert top.end() == 0


def test_top_waits_for_a_daemon_that_is_started_anew(catnap, tiny):
    catnap.up(tiny_yaml(tiny))
    top = Terminal(catnap.api, "top")
    top.wait(b"tiny")
    catnap.stop()
    at = top.wait(b"is gone; waiting")
    catnap.start()
    top.wait(b"q quit  a", at)
    top.type(b"q")
    assert top.end() == 0


def test_top_without_a_daemon_takes_no_screen(tmp_path):
    top = Terminal(str(tmp_path / "none.sock"), "top")
    assert top.end() == 3
    assert b"no daemon answers" in top.seen and b"\x1b" not in top.seen


@pytest.mark.parametrize("env", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_colours_only_where_they_are_wanted(catnap, tiny, env):
    catnap.up(tiny_yaml(tiny))
    plain, coloured = Terminal(catnap.api, "ps", env=env), Terminal(catnap.api, "ps")
    assert plain.end() == coloured.end() == 0
    assert COLOUR.search(coloured.seen) and not COLOUR.search(plain.seen)
    assert COLOUR.sub(b"", coloured.seen) == plain.seen
    assert "\x1b" not in catnap.cli("ps").stdout


def complete(catnap, *words):
    script = f"""source <('{CATNAP}' completion bash) || exit 1
COMP_WORDS=('{CATNAP}' "$@") COMP_CWORD=$#
_catnap
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    done = subprocess.run(
        ["bash", "--norc", "-c", script, "bash", *words],
        env={**os.environ, "CATNAP_API": catnap.api},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_completion_in_bash(catnap, tiny, tmp_path):
    catnap.up(tiny_yaml(tiny, app="alone"))
    catnap.up(tiny_yaml(tiny, app="pair") + "  other:\n    command: [x]\n    port: 1\n")
    assert complete(catnap, "wa") == ["wake"]
    assert complete(catnap, "wake", "al") == ["alone"]
    assert complete(catnap, "wake", "p") == ["pair", "pair.other", "pair.web"]
    assert complete(catnap, "logs", "alone.") == ["alone.web"]
    assert complete(catnap, "logs", "--fo") == ["--follow"]
    assert complete(catnap, "down", "alone", "") == ["pair"]
    (tmp_path / "some app.yaml").write_text("")
    assert complete(catnap, "up", str(tmp_path / "so")) == f"{tmp_path}/some app.yaml".split()
    catnap.stop()
    assert complete(catnap, "wake", "") == [], "no daemon, no names, no noise"


def test_a_reader_that_leaves_ends_what_follows(catnap, tiny):
    catnap.up(tiny_yaml(tiny, env={"TINY_SAY": "good morning"}))
    catnap.cli("wake", "tiny")
    for command in ("logs -f tiny | head -n 1", "top --json | head -n 1"):
        done = subprocess.run(
            ["bash", "-c", f"'{CATNAP}' {command}; exit ${{PIPESTATUS[0]}}"],
            env={**os.environ, "CATNAP_API": catnap.api},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert len(done.stdout.splitlines()) == 1 and done.stderr == ""
        assert done.returncode in (0, 1), command


def test_a_full_disk_under_the_output(catnap):
    done = subprocess.run(
        [CATNAP, "ps"],
        env={**os.environ, "CATNAP_API": catnap.api},
        stdout=open("/dev/full", "wb"),
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1 and "No space left" in done.stderr
