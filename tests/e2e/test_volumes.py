"""Named volumes through the real daemon: shared, kept over every end of a container and of the daemon."""

import signal

import pytest
from conftest import free_port, wait_for

SERVER = '''
import http.server, pathlib, sys
class Files(http.server.BaseHTTPRequestHandler):
    def answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def do_GET(self):
        try:
            self.answer(200, pathlib.Path("/data" + self.path).read_bytes())
        except OSError as error:
            self.answer(404, str(error).encode())
    def do_PUT(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            pathlib.Path("/data" + self.path).write_bytes(body)
            self.answer(200, b"written")
        except OSError as error:
            self.answer(500, str(error).encode())
http.server.HTTPServer(("", 8000), Files).serve_forever()
'''


@pytest.fixture
def files(tmp_path):
    (tmp_path / "files.py").write_text(SERVER)
    return tmp_path


def manifest(files, app="files", volume="notes", ports=(), **more):
    lines = [f"app: {app}", "functions:"]
    for i, (port, data) in enumerate(ports):
        lines += [f"  f{i}:", "    image: host", "    command: [python3, /srv/files.py]", "    port: 8000",
                  f"    publish: {port}", "    volumes:", f"      /srv: {{volume: {files}, read_only: true}}",
                  f"      /data: {data}"]
        lines += [f"    {key}: {value}" for key, value in more.items()]
    return "\n".join(lines) + "\n"


def put(catnap, port, path, body):
    return catnap.request(port, path, "PUT", body.encode())


def test_what_one_container_writes_the_others_read_at_once(catnap, files):
    first, second, reader = free_port(), free_port(), free_port()
    catnap.up(manifest(files, ports=[(first, "notes"), (second, "notes"),
                                     (reader, "{volume: notes, read_only: true}")]))
    assert put(catnap, first, "/a", "one").text == "written"
    assert catnap.get(second, "/a").text == "one"
    assert put(catnap, second, "/a", "two").text == "written"
    assert catnap.get(first, "/a").text == "two"
    assert catnap.get(reader, "/a").text == "two"
    refused = put(catnap, reader, "/a", "three")
    assert refused.status == 500 and "Read-only" in refused.text
    assert (catnap.state / "volumes/notes/a").read_text() == "two"


def test_a_volume_outlives_containers_apps_and_the_daemon(catnap, files):
    port = free_port()
    yaml = manifest(files, ports=[(port, "notes")])
    catnap.up(yaml)
    assert put(catnap, port, "/a", "one").text == "written"
    catnap.stop(signal.SIGKILL)
    catnap.start()
    assert catnap.get(port, "/a").text == "one"
    assert put(catnap, port, "/b", "two").text == "written"
    catnap.stop()
    catnap.start()
    assert catnap.get(port, "/b").text == "two"
    catnap.cli("down", "files")
    catnap.up(yaml)
    assert (catnap.get(port, "/a").text, catnap.get(port, "/b").text) == ("one", "two")


def test_a_directory_of_an_older_catnap_is_the_volume_of_its_name(make_catnap, files):
    catnap = make_catnap()
    old = catnap.state / "volumes/notes"
    old.mkdir(parents=True)
    (old / "a").write_text("kept")
    catnap.start()
    port = free_port()
    catnap.up(manifest(files, ports=[(port, "notes")]))
    assert catnap.get(port, "/a").text == "kept"
    assert put(catnap, port, "/b", "new").text == "written"
    assert (old / "b").read_text() == "new"


def test_a_volume_is_there_in_a_new_container(catnap, files):
    port = free_port()
    catnap.up(manifest(files, ports=[(port, "notes")], scaledown_window="200ms"))
    assert put(catnap, port, "/a", "one").text == "written"
    wait_for("the container's end", lambda: not catnap.function("files", "f0")["containers"])
    assert catnap.get(port, "/a").text == "one"
