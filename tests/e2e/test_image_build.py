"""Images built in real containers: steps, caches, secrets, and what a kill leaves."""

import hashlib
import json
import os
import pathlib
import signal
import subprocess
import tempfile

import pytest
from conftest import BIN, free_port, wait_for
from image_house import catnap, make, registry  # fixtures
from image_house import app, build, images
from image_house import nothing_half_made
from images import needed

pytestmark = pytest.mark.skipif(
    not (needed("skopeo") and needed("docker-registry") and needed("busybox")),
    reason="skopeo, docker-registry and busybox-static are not all here",
)

DOCKERFILE = """\
FROM tiny:1
USER root
ENV WHO=me
RUN echo "hello $WHO" > /made && cat /made
COPY data/ /data/
RUN cat /data/*.txt > /all
CMD ["/bin/cat", "/all"]
"""


def test_a_build_runs_its_steps_and_the_next_one_takes_them_from_the_cache(catnap):
    files = {"data/a.txt": "one\n", "data/b.txt": "two\n"}
    first = build(catnap, DOCKERFILE, "-t", "built", files=files)
    assert "hello me" in first.stderr and "(cached)" not in first.stderr
    again = build(catnap, DOCKERFILE, "-t", "built", files=files)
    assert again.stderr.count("(cached)") == 3 and "hello me" not in again.stderr
    assert again.stdout == first.stdout
    changed = build(catnap, DOCKERFILE, "-t", "built", files={**files, "data/b.txt": "TWO\n"})
    assert changed.stderr.count("(cached)") == 1 and changed.stdout != first.stdout
    forced = build(catnap, DOCKERFILE, "-t", "built", "--force", files=files)
    assert "(cached)" not in forced.stderr and "hello me" in forced.stderr
    assert nothing_half_made(catnap)


def test_what_was_built_runs(catnap):
    port = free_port()
    build(
        catnap, "FROM tiny:1\nENV TINY_BODY='built here'\nUSER root\nRUN touch /srv/x\n", "-t", "mine/app:3"
    )
    catnap.up(app("mine/app:3", port))
    assert catnap.get(port).text.startswith("built here")


def test_a_failing_step_shows_its_output_and_its_exit_code(catnap):
    done = build(
        catnap,
        "FROM tiny:1\nUSER root\nRUN echo before; echo to-stderr >&2; exit 7\n",
        "-t",
        "broken",
        check=False,
    )
    assert done.returncode == 1
    assert "exited with code 7" in done.stderr
    last = done.stderr[done.stderr.index("catnap: ") :]
    assert "before" in last and "to-stderr" in last and "RUN echo before" in last
    assert images(catnap)["images"][0]["name"] == "tiny:1" and len(images(catnap)["images"]) == 1
    assert nothing_half_made(catnap)


def test_stages_args_and_files_of_another_image(catnap):
    done = build(
        catnap,
        """\
ARG BASE=tiny:1
FROM ${BASE} AS made
USER root
ARG VERSION=1
RUN echo "version $VERSION" > /srv/version && ln -s version /srv/link
FROM made AS not-needed
RUN false
FROM scratch
COPY --from=tiny:1 /bin /bin
COPY --from=made --chown=1234:50 /srv/ver* /srv/link /x/
RUN ["/bin/sh", "-c", "cat /x/link; stat -c '%u:%g %a' /x/version; ls /"]
""",
        "-t",
        "staged",
        "--build-arg",
        "VERSION=42",
    )
    assert "version 42" in done.stderr and "1234:50" in done.stderr and "RUN false" not in done.stderr


def test_a_file_of_the_network_is_added(catnap, tmp_path):
    (tmp_path / "tool-1.2.tar").write_bytes(b"not unpacked")
    port = free_port()
    server = subprocess.Popen(
        ["python3", "-m", "http.server", str(port), "--bind", "127.0.0.1", "--directory", str(tmp_path)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        url = f"http://127.0.0.1:{port}/tool-1.2.tar"
        wait_for(
            "the server", lambda: subprocess.run(["curl", "-sf", url], capture_output=True).returncode == 0
        )
        done = build(catnap, f"FROM tiny:1\nUSER root\nADD {url} /opt/\nRUN cat /opt/tool-1.2.tar\n")
        assert "not unpacked" in done.stderr
        assert (
            build(
                catnap, f"FROM tiny:1\nUSER root\nADD {url} /opt/\nRUN cat /opt/tool-1.2.tar\n"
            ).stderr.count("(cached)")
            == 2
        )
        (tmp_path / "tool-1.2.tar").write_bytes(b"a newer one")
        assert (
            "a newer one"
            in build(catnap, f"FROM tiny:1\nUSER root\nADD {url} /opt/\nRUN cat /opt/tool-1.2.tar\n").stderr
        )
        wrong = build(catnap, f"FROM tiny:1\nADD --checksum=sha256:{'0' * 64} {url} /x\n", check=False)
        assert wrong.returncode == 1 and hashlib.sha256(b"a newer one").hexdigest() in wrong.stderr
        gone = build(catnap, f"FROM tiny:1\nADD {url}.no /x\n", check=False)
        assert gone.returncode == 1 and "404" in gone.stderr
    finally:
        server.terminate()
        server.wait(30)
    assert nothing_half_made(catnap)


def test_secrets_are_seen_by_run_and_stay_nowhere(catnap):
    body = {
        "commands": 'FROM tiny:1\nUSER root\nRUN echo "$TOKEN" | sha256sum\n'
        "RUN --mount=type=secret,id=TOKEN cat /run/secrets/TOKEN | wc -c\n",
        "secrets": {"TOKEN": "s3cr3t-value"},
    }
    answer = subprocess.run(
        ["curl", "-sS", "--unix-socket", catnap.api, "-d", json.dumps(body), "http://x/v1/images/build"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    lines = [json.loads(line) for line in answer.splitlines()]
    assert "image" in lines[-1], answer
    assert {"line": hashlib.sha256(b"s3cr3t-value\n").hexdigest() + "  -"} in lines and {
        "line": "12"
    } in lines
    assert "s3cr3t" not in answer and "s3cr3t" not in catnap.log.read_text()
    kept = [
        path
        for path in (catnap.state / "images").rglob("*")
        if path.is_file() and b"s3cr3t" in path.read_bytes()
    ]
    assert kept == [] and not list(pathlib.Path("/dev/shm").glob("catnap-secret*"))


def test_two_who_build_the_same_at_once_share_it(catnap):
    catnap.cli("image", "pull", "tiny:1")
    directory = pathlib.Path(tempfile.mkdtemp(dir=catnap.directory))
    (directory / "Dockerfile").write_text(
        "FROM tiny:1\nUSER root\nRUN cat /proc/sys/kernel/random/uuid | tee /id 2>/dev/null || "
        "cat /proc/sys/kernel/random/uuid > /id; sleep 1\nRUN cat /id\n"
    )
    command = [str(BIN / "catnap"), "image", "build", str(directory)]
    several = [
        subprocess.Popen(
            command,
            env={**os.environ, "CATNAP_API": catnap.api},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    answers = [one.communicate(timeout=60) for one in several]
    assert all(one.returncode == 0 for one in several), answers
    assert len({answer[0] for answer in answers}) == 1


def slow_build(catnap, seconds=300):
    """A build that has reached its slow step; the process of `catnap image build` and the step's own."""
    directory = pathlib.Path(tempfile.mkdtemp(dir=catnap.directory))
    (directory / "Dockerfile").write_text(
        f"FROM tiny:1\nUSER root\nRUN echo first > /first\nRUN echo here-it-is; sleep {seconds}.25\n"
    )
    process = subprocess.Popen(
        [str(BIN / "catnap"), "image", "build", str(directory)],
        text=True,
        env={**os.environ, "CATNAP_API": catnap.api},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    for line in process.stderr:
        if line.strip() == "here-it-is":
            break
    return (
        process,
        lambda: subprocess.run(["pgrep", "-f", f"sleep {seconds}.25$"], capture_output=True).returncode == 0,
    )


def test_a_client_that_leaves_ends_its_build(catnap):
    process, sleeps = slow_build(catnap, 301)
    assert sleeps()
    process.send_signal(signal.SIGINT)
    process.wait(30)
    wait_for("the step's end", lambda: not sleeps())
    wait_for("nothing half made", lambda: nothing_half_made(catnap))


def test_a_kill_in_the_middle_of_a_build_leaves_nothing_half(make):
    catnap = make().start()
    process, sleeps = slow_build(catnap, 302)
    catnap.stop(signal.SIGKILL)
    process.wait(30)
    assert sleeps()  # containers outlive a killed daemon
    catnap.start()
    wait_for("the step's end", lambda: not sleeps())
    wait_for("nothing half made", lambda: nothing_half_made(catnap))
    again = build(catnap, "FROM tiny:1\nUSER root\nRUN echo first > /first\nRUN cat /first\n")
    assert again.stderr.count("(cached)") == 1 and "\nfirst\n" in again.stderr


def test_an_end_in_the_middle_of_a_build_leaves_nothing(make):
    catnap = make().start()
    process, sleeps = slow_build(catnap, 303)
    catnap.stop(signal.SIGTERM)
    process.wait(30)
    assert not sleeps() and process.returncode != 0
    assert list((catnap.state / "images/trash").iterdir()) == [] and nothing_half_made(catnap)


def test_on_top_of_the_machines_own_programs(catnap):
    port = free_port()
    done = build(
        catnap,
        """\
FROM host
RUN python3 -c 'print(6 * 7)' && touch /usr/local/bin/mine && rm /usr/bin/yes
COPY hello /bin/hello
RUN ls /usr/bin/hello /usr/local/bin/mine && ! ls /usr/bin/yes && ls -A /home && test ! -e /etc/shadow
COPY hello /opt/www/hello
ENTRYPOINT ["python3", "-m", "http.server", "8000", "--directory", "/opt/www"]
""",
        "-t",
        "over-host",
        files={"hello": "hi there"},
    )
    assert "\n42\n" in done.stderr and "/usr/bin/hello" in done.stderr
    catnap.up(app("over-host", port))
    assert catnap.get(port, "/hello").text == "hi there"
    assert os.path.exists("/usr/bin/yes")
