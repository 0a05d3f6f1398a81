"""The gateway's limits in the configuration file: what is over them is refused, what is nonsense is named."""

import socket
import subprocess

import pytest
from conftest import BIN, free_port, tiny_yaml


def configured(make_catnap, tmp_path, text):
    path = tmp_path / "catnapd.yaml"
    path.write_text(text)
    return make_catnap(extra=["--config", str(path)])


def talk(port, request):
    """All that is answered until the connection ends."""
    with socket.create_connection(("127.0.0.1", port), 30) as s:
        s.sendall(request)
        answer = b""
        while chunk := s.recv(65536):
            answer += chunk
        return answer.decode()


def test_limits_of_the_file_are_kept(make_catnap, tmp_path, tiny):
    limits = "head_size: 2KiB\nbody_size: 1000\nhead_timeout: 300ms\nidle_timeout: 300ms\n"
    catnap = configured(make_catnap, tmp_path, limits).start()
    port = free_port()
    catnap.up(tiny_yaml(tiny, publish=port))
    assert catnap.get(port).text == "hello\n"
    assert catnap.request(port, method="POST", body=b"x" * 1001).status == 413
    assert catnap.get(port, headers={"X-Long": "x" * 3000}).status == 431
    assert " 408 " in talk(port, b"GET / HTTP/1.1\r\nHost: a\r\nX")
    assert " 200 " in talk(port, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")  # answered, then idle for too long


@pytest.mark.parametrize("line, complaint", [
    ("head_size: 10", "head_size: '10' is out of range; from 1KiB to 16MiB"),
    ("body_size: many", "body_size:"),
    ("idle_timeout: never", "idle_timeout: 'never' is out of range; from 1ms to 24h"),
    ("write_timeout: 0", "write_timeout: '0' is out of range"),
    ("connections_max: 0", "connections_max: '0': a whole number from 1 to 1000000 is expected"),
    ("comments_every: soon", "comments_every:"),
])
def test_nonsense_is_named_with_its_line(tmp_path, line, complaint):
    path = tmp_path / "catnapd.yaml"
    path.write_text("domain: localhost\n" + line + "\n")
    command = [str(BIN / "catnap"), "serve", "--state", str(tmp_path / "state"), "--config", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert f"{path}:2: {complaint}" in done.stderr
