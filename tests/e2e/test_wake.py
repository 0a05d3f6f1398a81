"""An app's day, through the real daemon and a real runtime: asleep, woken by a request, dozing, thawed,
stopped; and what a user is told when it can't be."""

import concurrent.futures
import hashlib
import os
import pathlib
import signal
import subprocess

import pytest
from conftest import BIN, free_port, tiny_yaml, wait_for


def up(catnap, tiny, **more):
    port = free_port()
    catnap.up(tiny_yaml(tiny, publish=port, **more))
    return port


def test_a_request_wakes_a_sleeping_app(catnap, tiny):
    port = up(catnap, tiny)
    assert catnap.state_of("tiny", "web") in ("asleep", "primed")
    answer = catnap.get(port, "/anything")
    assert (answer.status, answer.text) == (200, "hello\n")
    web = catnap.function("tiny", "web")
    assert web["state"] == "awake"
    assert web["last_wake_ms"] >= 0
    assert len(web["containers"]) == 1 and web["containers"][0]["pid"] > 0


def test_the_host_name_finds_the_app_too(catnap, tiny):
    up(catnap, tiny, label="my-tiny")
    assert catnap.get(catnap.port, headers={"Host": "my-tiny.localhost"}).text == "hello\n"
    assert catnap.get(catnap.port, headers={"Host": "other.localhost"}).status == 404


def test_it_dozes_thaws_and_is_stopped_by_itself(catnap, tiny):
    port = up(catnap, tiny, doze_after="200ms", scaledown_window="3s")
    assert catnap.get(port).status == 200
    catnap.wait_state("tiny", "web", "dozing")
    first = catnap.function("tiny", "web")["containers"][0]
    assert catnap.get(port).text == "hello\n"
    again = catnap.function("tiny", "web")
    assert again["containers"][0]["pid"] == first["pid"], "it was thawed, not started anew"
    catnap.wait_state("tiny", "web", "asleep", "primed")
    assert catnap.get(port).text == "hello\n"
    assert all(c["pid"] != first["pid"] for c in catnap.function("tiny", "web")["containers"])


def test_one_start_serves_all_who_wait(catnap, tiny):
    port = up(catnap, tiny, max_inputs=50, env={"TINY_START_MS": 300})
    with concurrent.futures.ThreadPoolExecutor(20) as many:
        answers = list(many.map(lambda _: catnap.get(port), range(20)))
    assert {a.status for a in answers} == {200}
    assert len(catnap.function("tiny", "web")["containers"]) == 1


def test_commands_of_the_user(catnap, tiny):
    port = up(catnap, tiny, doze_after="never", scaledown_window="never")
    catnap.cli("wake", "tiny")
    assert catnap.state_of("tiny", "web") == "awake"
    catnap.cli("doze", "tiny")
    catnap.wait_state("tiny", "web", "dozing")
    catnap.cli("sleep", "tiny")
    catnap.wait_state("tiny", "web", "asleep", "primed")
    assert catnap.get(port).status == 200, "a request wakes what was put to sleep"
    catnap.cli("stop", "tiny")
    catnap.wait_state("tiny", "web", "asleep")
    assert catnap.get(port).status == 503, "what was stopped stays so"
    catnap.cli("wake", "tiny")
    assert catnap.get(port).status == 200
    catnap.cli("down", "tiny")
    assert catnap.function("tiny", "web") is None


def test_a_command_that_exits_at_once_is_told_with_its_last_words(catnap, tiny):
    port = up(catnap, tiny, env={"TINY_EXIT": 7, "TINY_SAY": "the pump is broken"})
    answer = catnap.get(port)
    assert answer.status in (502, 503)
    assert "code 7" in answer.text and "the pump is broken" in answer.text
    again = catnap.get(port)
    assert again.status in (502, 503) and "Retry-After" in again.headers, "it backs off, and says how long"
    assert catnap.state_of("tiny", "web") == "failed"


def test_a_command_that_is_not_there(catnap, tiny):
    port = free_port()
    catnap.up("app: lost\nfunctions:\n  web:\n    command: [/no/such/program]\n    port: 80\n"
              f"    publish: {port}\n")
    answer = catnap.get(port)
    assert answer.status in (502, 503) and "/no/such/program" in answer.text


def test_a_command_that_never_listens(catnap, tiny):
    port = up(catnap, tiny, startup_timeout="1s", env={"TINY_NEVER_LISTEN": 1})
    answer = catnap.get(port)
    assert answer.status in (502, 503, 504) and "startup_timeout" in answer.text
    wait_for("nothing is left of it", lambda: not catnap.function("tiny", "web")["containers"])


def test_a_crash_while_it_works(catnap, tiny):
    port = up(catnap, tiny)
    assert catnap.get(port).status == 200
    answer = catnap.get(port, "/crash")
    assert answer.status == 502 and "signal" in answer.text
    assert catnap.get(port).status == 200, "the next request wakes it anew"


def test_a_container_over_its_memory_is_told_as_such(catnap, tiny):
    port = up(catnap, tiny, memory="32M", env={"TINY_MEMORY_MB": 256})
    answer = catnap.get(port, "/memory")
    assert answer.status == 502 and "memory" in answer.text


def test_more_requests_than_the_queue_takes(catnap, tiny):
    port = up(catnap, tiny, queue=2, env={"TINY_SLOW_MS": 500})
    with concurrent.futures.ThreadPoolExecutor(8) as many:
        answers = list(many.map(lambda _: catnap.get(port, "/slow"), range(8)))
    refused = [a for a in answers if a.status == 503]
    assert {a.status for a in answers} == {200, 503}
    assert all("Retry-After" in a.headers and "queue" in a.text for a in refused)


def test_a_request_over_its_time_ends(catnap, tiny):
    port = up(catnap, tiny, timeout="300ms", env={"TINY_SLOW_MS": 5000})
    answer = catnap.get(port, "/slow")
    assert answer.status == 504 and "timeout" in answer.text


def test_output_is_kept_and_can_be_followed(catnap, tiny):
    port = up(catnap, tiny, env={"TINY_SAY": "good morning"})
    catnap.get(port)
    assert "good morning" in wait_for("the line in the log", lambda: catnap.cli("logs", "tiny").stdout)
    follow = subprocess.Popen([str(BIN / "catnap"), "logs", "tiny", "-f"],
                              env={**os.environ, "CATNAP_API": catnap.api}, stdout=subprocess.PIPE, text=True)
    try:
        catnap.cli("sleep", "tiny")
        catnap.wait_state("tiny", "web", "asleep", "primed")
        catnap.get(port)
        seen = 0
        for line in follow.stdout:
            seen += "good morning" in line
            if seen == 2:
                break
        assert seen == 2
    finally:
        follow.kill()
        follow.wait()
    catnap.cli("down", "tiny")
    assert "good morning" in catnap.cli("logs", "tiny").stdout, "logs survive the container"


def test_logs_go_when_nobody_wrote_to_them_for_a_month(make_catnap):
    catnap = make_catnap()
    old, new = (catnap.state / "logs" / app / "web" for app in ("gone", "here"))
    for folder in (old, new):
        folder.mkdir(parents=True)
        (folder / "7.log").write_text("2026-01-02T03:04:05.678Z out hello\n")
    for path in (old / "7.log", old, old.parent):
        os.utime(path, (1, 1))
    catnap.start()
    wait_for("what is left of an app that is gone goes", lambda: not old.parent.exists())
    assert (new / "7.log").exists()


def test_a_flood_of_output_is_bounded_and_blocks_nobody(catnap, tiny):
    port = up(catnap, tiny)
    for _ in range(5):
        assert catnap.get(port, "/fill").status == 200
    logs = catnap.state / "logs"
    assert sum(f.stat().st_size for f in logs.rglob("*") if f.is_file()) < 64 << 20


# ---- life of the daemon ----

def name_of(catnap):
    return "catnap-" + hashlib.sha256(str(catnap.state.resolve()).encode()).hexdigest()[:8]


def leftovers(catnap):
    """Processes, mounts and cgroups that speak of this daemon's directories."""
    name = name_of(catnap)
    found = [line for line in open("/proc/mounts") if name in line or str(catnap.directory) in line]
    for root, _, _ in os.walk("/sys/fs/cgroup"):
        if name in root:
            found.append(root)
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            words = open(f"/proc/{pid}/cmdline").read().replace("\0", " ")
        except OSError:
            continue
        if name in words or (str(catnap.directory) in words and "pytest" not in words):
            found.append(words)
    if os.path.exists(f"/run/{name}"):
        found += [f"/run/{name}/{x}" for x in os.listdir(f"/run/{name}")]
    return found


def test_an_end_leaves_nothing(catnap, tiny):
    port = up(catnap, tiny)
    assert catnap.get(port).status == 200
    assert leftovers(catnap), "or this test looks in the wrong places"
    catnap.stop(signal.SIGINT)
    assert wait_for("all is gone", lambda: not leftovers(catnap)) is True


def test_ctrl_c_at_its_terminal_is_for_the_daemon_alone(make_catnap, tiny):
    catnap = make_catnap(extra=["--leave-containers"]).start()
    port = up(catnap, tiny, doze_after="never", scaledown_window="never")
    assert catnap.get(port).status == 200
    pid = catnap.function("tiny", "web")["containers"][0]["pid"]
    os.killpg(catnap.process.pid, signal.SIGINT)  # what a terminal does
    catnap.process.wait(60)
    catnap.stop()
    assert "launcher" not in catnap.log.read_text()
    catnap.extra = []
    catnap.start()
    assert catnap.function("tiny", "web")["containers"][0]["pid"] == pid
    assert catnap.get(port).text == "hello\n"


def test_a_killed_daemon_loses_nothing_and_the_next_takes_over(make_catnap, tiny):
    catnap = make_catnap().start()
    port = up(catnap, tiny, doze_after="never", scaledown_window="never")
    assert catnap.get(port).status == 200
    pid = catnap.function("tiny", "web")["containers"][0]["pid"]
    catnap.stop(signal.SIGKILL)
    os.kill(pid, 0)
    catnap.start()
    web = catnap.function("tiny", "web")
    assert web["state"] == "awake" and web["containers"][0]["pid"] == pid
    assert catnap.get(port).text == "hello\n"
    assert catnap.function("tiny", "web")["containers"][0]["pid"] == pid
    catnap.cli("sleep", "tiny")
    catnap.wait_state("tiny", "web", "asleep", "primed")


def test_what_a_kill_left_half_made_goes_with_the_next_daemon(make_catnap, tiny):
    catnap = make_catnap().start()
    assert catnap.get(up(catnap, tiny)).status == 200
    catnap.stop(signal.SIGKILL)
    for half in ("t/77", "runtime/77"):  # of a container that no record tells of
        (pathlib.Path("/run") / name_of(catnap) / half / "inside").mkdir(parents=True)
    catnap.start()
    catnap.stop()
    assert wait_for("all is gone", lambda: not leftovers(catnap)) is True


def test_a_dozing_container_is_adopted_too(make_catnap, tiny):
    catnap = make_catnap().start()
    port = up(catnap, tiny, doze_after="100ms", scaledown_window="never")
    assert catnap.get(port).status == 200
    catnap.wait_state("tiny", "web", "dozing")
    pid = catnap.function("tiny", "web")["containers"][0]["pid"]
    catnap.stop(signal.SIGKILL)
    catnap.start()
    assert catnap.get(port).text == "hello\n"
    assert catnap.function("tiny", "web")["containers"][0]["pid"] == pid


def test_a_second_daemon_on_the_same_state_is_refused(catnap, make_catnap):
    other = make_catnap(directory=catnap.directory)
    done = subprocess.run([str(BIN / "catnap"), "serve", "--state", str(catnap.state),
                           "--gateway", f"127.0.0.1:{free_port()}", "--api",
                           str(other.directory / "other.sock")], capture_output=True, text=True, timeout=30)
    assert done.returncode != 0 and str(catnap.process.pid) in done.stderr


def test_several_live_side_by_side(make_catnap, tiny):
    one, two = make_catnap().start(), make_catnap().start()
    a, b = up(one, tiny), up(two, tiny)
    assert one.get(a).status == two.get(b).status == 200
    one.stop()
    assert two.get(b).status == 200


def test_a_port_that_is_taken(catnap, tiny):
    done = catnap.up(tiny_yaml(tiny, publish=catnap.port + 0, app="one"), check=False)
    assert done.returncode == 0, "the gateway's own port: it answers what no host name claims"
    assert catnap.get(catnap.port).text == "hello\n"
    import socket
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = catnap.up(tiny_yaml(tiny, publish=taken.getsockname()[1], app="two"), check=False)
        assert done.returncode == 1 and str(taken.getsockname()[1]) in done.stderr


BASE = "app: a\nfunctions:\n  f:\n    command: [x]\n    port: 80\n"


@pytest.mark.parametrize("yaml, said", [
    ("app: a\nfunctions:\n  f:\n    comand: [x]\n    port: 80\n", ":4:"),
    ("app: a\nfunctions:\n  f:\n    command: [x]\n    port: 99999\n", ":5:"),
    ("app: a\nfunctions:\n  f:\n    port: 80\n", "command"),
    ("app: a\nfunctions:\n  f:\n    command: [x]\n    port: [1]\n", ":5:"),
    (BASE + "    image: docker.io/library/none\n", "docker.io"),
    (BASE + "    image: /no/such/image\n", "/no/such/image"),
    (BASE + "    volumes: {/x: /no/such/place}\n", "/no/such/place"),
])
def test_a_wrong_manifest_is_told_and_changes_nothing(catnap, yaml, said):
    done = catnap.up(yaml, check=False)
    assert done.returncode == 1 and said in done.stderr
    assert catnap.ps()["apps"] == []


def test_a_storm_on_many_sleeping_apps_loses_nothing(catnap, tiny):
    apps = 10
    ports = [free_port() for _ in range(apps)]
    for i, port in enumerate(ports):
        catnap.up(tiny_yaml(tiny, app=f"tiny{i}", publish=port, max_inputs=100))
    with concurrent.futures.ThreadPoolExecutor(100) as many:
        answers = list(many.map(lambda i: catnap.get(ports[i % apps]), range(200)))
    assert [a.status for a in answers] == [200] * 200


def test_a_client_that_leaves_frees_its_slot(catnap, tiny):
    import socket
    port = up(catnap, tiny, env={"TINY_START_MS": 400})
    client = socket.create_connection(("127.0.0.1", port))
    client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    wait_for("it waits", lambda: catnap.function("tiny", "web")["waiting"] == 1)
    client.close()
    wait_for("it waits no more", lambda: catnap.function("tiny", "web")["waiting"] == 0)
    assert catnap.get(port).status == 200


def test_a_full_disk_while_committing(make_catnap, tiny, tmp_path):
    state = tmp_path / "small"
    state.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(state)], check=True)
    try:
        catnap = make_catnap(directory=str(state)).start()
        port = up(catnap, tiny)
        with open(state / "filler", "wb", buffering=0) as filler:
            try:
                while True:
                    filler.write(b"x" * 4096)
            except OSError:
                pass
        yaml = tmp_path / "late.yaml"
        yaml.write_text(tiny_yaml(tiny, app="late", env={"BIG": "x" * 100000}))
        done = catnap.cli("up", str(yaml), check=False)
        assert done.returncode == 1 and ("full" in done.stderr.lower() or "space" in done.stderr.lower())
        assert catnap.state_of("tiny", "web") is not None and catnap.function("late", "web") is None
        assert catnap.get(port).status in (200, 502, 503)
        os.unlink(state / "filler")
        assert catnap.cli("up", str(yaml)).returncode == 0
        catnap.stop()
    finally:
        subprocess.run(["umount", "-l", str(state)], check=True)
