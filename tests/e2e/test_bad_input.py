"""What a user is told when something is wrong: by the manifest, the image, the command, the port, the
daemon, the token. Each answer names what was wrong and what to do, and nothing hangs, changes by halves or
stays behind. What the machine lacks is in test_machine.py."""

import json
import os
import pathlib
import signal
import socket
import stat
import subprocess

import pytest
from conftest import BIN, free_port, tiny_yaml, wait_for

CATNAP = str(BIN / "catnap")


def run(*words, env=None, timeout=60, **more):
    return subprocess.run(
        [CATNAP, *words],
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        **more,
    )


def refused_up(catnap, yaml, *said):
    done = catnap.up(yaml, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    for words in said:
        assert words in done.stderr
    return done


# ---- the manifest ----

GOOD = "app: good\nfunctions:\n  f:\n    command: [/bin/true]\n    port: 80\n"


@pytest.mark.parametrize(
    "yaml, where, said",
    [
        (
            "app: a\nfunctions:\n  f:\n    comand: [x]\n    port: 80\n",
            ":4:5: ",
            "unknown key 'comand'; did you mean 'command'?",
        ),
        (
            "app: a\nfunctions:\n  f:\n    command: [x]\n    port: 99999\n",
            ":5:11: ",
            "port: 99999 is out of range; from 1 to 65535",
        ),
        (
            "app: a\nfunctions:\n  f:\n    command: [x]\n    port: many\n",
            ":5:11: ",
            "a whole number is expected, not 'many'",
        ),
        (
            "app: a\nfunctions:\n  f:\n    command: [x]\n    port: [1]\n",
            ":5:11: ",
            "port: a single value is expected, not a list",
        ),
        ("app: a\nfunctions:\n  f:\n    port: 80\n", ":3:3: ", "command: missing"),
        (
            "app: a\nfunctions:\n  f:\n    command: x\n    port: 80\n",
            ":4:14: ",
            "command: a list is expected",
        ),
        ("app: a\nfunctions:\n  f:\n    command: [x]\n", ":3:3: ", "port: missing"),
        (
            "app: a\nfunctions:\n  f:\n    command: [x]\n    port: 80\n    doze_after: soon\n",
            ":6:17: ",
            "'soon' is no duration",
        ),
        (
            "app: a\nfunctions:\n  f:\n    command: [x]\n    port: 80\n    memory: lots\n",
            ":6:13: ",
            "'lots' is no size",
        ),
        ("app: A B\nfunctions:\n  f:\n    command: [x]\n    port: 80\n", ":1:6: ", "'A B' is no name"),
        ("app: a\n", ":1:1: ", "functions: missing"),
        ("app: a\nfunctions:\n  f:\n  - x\n", ":4:3: ", "a map is expected"),
        ("app: a\nfunctions: {f: {command: [x], port: 80}\n", ":3:1: ", "flow mapping"),
        (
            'app: a\nfunctions:\n  f:\n    command: ["${NOT_SET_ANYWHERE}"]\n    port: 80\n',
            ":4:15: ",
            "the variable NOT_SET_ANYWHERE is not set",
        ),
        ("", ":1:1: ", "the file is empty"),
    ],
)
def test_a_manifest_is_refused_with_line_and_column(catnap, yaml, where, said):
    catnap.up(GOOD)
    before = catnap.ps()
    refused_up(catnap, yaml, f"{catnap.directory}/app.yaml{where}", said, "nothing was changed")
    assert catnap.ps() == before


def test_all_that_is_wrong_is_told_at_once(catnap):
    done = refused_up(
        catnap,
        "app: a\nfunctions:\n  f:\n    command: x\n    port: 0\n    colour: red\n",
        ":4:",
        ":5:",
        ":6:",
    )
    assert len(done.stderr.splitlines()) == 4, done.stderr


def test_a_change_is_whole_or_not_at_all(catnap, tiny):
    port = free_port()
    catnap.up(tiny_yaml(tiny, publish=port))
    assert catnap.get(port).status == 200
    pid = catnap.function("tiny", "web")["containers"][0]["pid"]
    both = tiny_yaml(tiny, publish=port, max_inputs=7) + "  second:\n    command: [/bin/true]\n    port: 0\n"
    refused_up(catnap, both, "port: 0 is out of range")
    web = catnap.function("tiny", "web")
    assert web["max_inputs"] == 1 and web["containers"][0]["pid"] == pid
    assert catnap.function("tiny", "second") is None
    assert catnap.get(port).text == "hello\n"


def test_from_standard_input(catnap, tiny):
    def up(text):
        return subprocess.run(
            [CATNAP, "up", "-"],
            input=text,
            env={**os.environ, "CATNAP_API": catnap.api},
            capture_output=True,
            text=True,
            timeout=60,
        )

    done = up("app: a\nfunctions: 7\n")
    assert done.returncode == 1 and "stdin:2:12: functions: a map is expected" in done.stderr
    assert up(tiny_yaml(tiny)).returncode == 0
    assert catnap.state_of("tiny", "web") == "asleep"


def test_a_file_that_is_not_there_or_no_text(catnap, tmp_path):
    done = catnap.cli("up", str(tmp_path / "none.yaml"), check=False)
    assert done.returncode == 1 and "none.yaml: No such file" in done.stderr
    done = catnap.cli("up", str(tmp_path), check=False)
    assert done.returncode == 1 and str(tmp_path) in done.stderr
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    done = catnap.cli("up", str(tmp_path / "binary.yaml"), check=False)
    assert done.returncode == 1 and "no UTF-8 text" in done.stderr


def test_names_that_are_not_there(catnap, tiny):
    catnap.up(tiny_yaml(tiny))
    for words in (
        ["wake", "none"],
        ["doze", "none.web"],
        ["logs", "none"],
        ["down", "none"],
        ["logs", "none", "-f"],
    ):
        done = catnap.cli(*words, check=False)
        assert done.returncode == 1 and "there is no app 'none'" in done.stderr, words
    for words in (["wake", "tiny.wbe"], ["logs", "tiny.wbe"], ["logs", "tiny.wbe", "-f"]):
        done = catnap.cli(*words, check=False)
        assert done.returncode == 1 and "the app 'tiny' has no function 'wbe'" in done.stderr, words
    done = catnap.cli("wake", "../../etc", check=False)
    assert done.returncode == 1 and "no app" in done.stderr


# ---- image, command, port ----


@pytest.mark.parametrize(
    "image, said",
    [
        ("/no/such/image", "/no/such/image"),
        ("UPPER CASE", "neither `host`, an absolute directory nor a registry's name"),
        ("/etc/passwd", "/etc/passwd"),
    ],
)
def test_an_image_that_is_not_there(catnap, image, said):
    refused_up(
        catnap, f"app: a\nfunctions:\n  f:\n    image: {image}\n    command: [x]\n    port: 80\n", said
    )
    assert catnap.ps()["apps"] == []


def test_a_command_that_exits_at_once(catnap, tiny):
    port = free_port()
    catnap.up(tiny_yaml(tiny, publish=port, env={"TINY_EXIT": 7, "TINY_SAY": "the pump is broken"}))
    done = catnap.cli("wake", "tiny", check=False)
    assert (
        done.returncode == 1 and "exited with code 7" in done.stderr and "the pump is broken" in done.stderr
    )
    answer = catnap.get(port)
    assert answer.status in (502, 503) and "code 7" in answer.text and "the pump is broken" in answer.text
    assert answer.text.count("exited with code 7") == 1
    shown = catnap.cli("ps").stdout
    assert "failed, retry" in shown and "the pump is broken" in shown
    logs = catnap.cli("logs", "tiny").stdout
    assert "the pump is broken" in logs and "-- it exited with code 7" in logs


def test_a_command_that_never_listens(catnap, tiny):
    catnap.up(tiny_yaml(tiny, startup_timeout="500ms", env={"TINY_NEVER_LISTEN": 1}))
    done = catnap.cli("wake", "tiny.web", check=False)
    assert done.returncode == 1 and "tiny.web did not wake" in done.stderr
    wait_for("nothing is left of it", lambda: not catnap.function("tiny", "web")["containers"])


def test_a_port_that_is_taken(catnap, make_catnap, tiny):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        refused_up(catnap, tiny_yaml(tiny, publish=port), str(port), "taken")
        assert catnap.ps()["apps"] == []
    catnap.up(tiny_yaml(tiny, app="one", publish=port))
    refused_up(catnap, tiny_yaml(tiny, app="two", publish=port), str(port), "one")
    other = make_catnap()
    done = run(
        "serve", "--state", str(other.state), "--gateway", f"127.0.0.1:{catnap.port}", "--api", other.api
    )
    assert done.returncode == 1 and str(catnap.port) in done.stderr and "taken" in done.stderr


# ---- the daemon ----


def test_a_second_daemon_on_the_same_state(catnap):
    done = run(
        "serve",
        "--state",
        str(catnap.state),
        "--gateway",
        f"127.0.0.1:{free_port()}",
        "--api",
        str(catnap.directory / "second.sock"),
    )
    assert (
        done.returncode == 1 and str(catnap.process.pid) in done.stderr and str(catnap.state) in done.stderr
    )
    assert catnap.ps() == {"apps": []}, "the first one goes on"


def test_a_second_daemon_on_the_same_socket(catnap, make_catnap):
    other = make_catnap()
    done = run(
        "serve", "--state", str(other.state), "--gateway", f"127.0.0.1:{other.port}", "--api", catnap.api
    )
    assert done.returncode == 1 and catnap.api in done.stderr
    assert catnap.ps() == {"apps": []}


@pytest.mark.parametrize(
    "words",
    [
        ["ps"],
        ["ps", "--json"],
        ["wake", "x"],
        ["logs", "x"],
        ["logs", "x", "-f"],
        ["down", "x"],
        ["top", "--json"],
    ],
)
def test_no_daemon(tmp_path, words):
    nowhere = str(tmp_path / "api.sock")
    done = run(*words, env={"CATNAP_API": nowhere})
    assert done.returncode == 3 and done.stdout == ""
    assert nowhere in done.stderr and "catnap serve" in done.stderr and "CATNAP_API" in done.stderr


def test_a_daemon_that_was_killed_leaves_a_socket_that_nobody_answers(catnap):
    catnap.stop(signal.SIGKILL)
    assert stat.S_ISSOCK(os.stat(catnap.api).st_mode)
    done = run("ps", env={"CATNAP_API": catnap.api})
    assert done.returncode == 3 and "no daemon answers" in done.stderr
    assert catnap.start().ps() == {"apps": []}, "the next one takes the socket over"


def test_a_socket_of_another_user(catnap):
    if os.geteuid() != 0:
        pytest.skip("needs root to be somebody else")
    os.chmod(catnap.directory, 0o755)
    done = subprocess.run(
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", CATNAP, "ps"],
        env={**os.environ, "CATNAP_API": catnap.api},
        capture_output=True,
        text=True,
        timeout=60,
    )
    if "setpriv" in done.stderr or done.returncode in (126, 127):
        pytest.skip("the program can't be run by nobody: " + done.stderr)
    assert done.returncode == 1 and "another user" in done.stderr


@pytest.mark.parametrize(
    "words, said",
    [
        (["--stat", "x"], "unknown argument --stat"),
        (["--state"], "--state wants a value"),
    ],
)
def test_a_wrong_line_of_serve(words, said):
    done = run("serve", *words)
    assert done.returncode == 2 and said in done.stderr


def test_a_wrong_configuration(tmp_path):
    path = tmp_path / "catnapd.yaml"
    for text, said in (
        ("gatway: 127.0.0.1:1\n", ":1: gatway: unknown key"),
        ("# x\ncontainers_max: many\n", ":2: containers_max"),
        ("gateway: [a\n", f"{path}:"),
        ("reclaim_after: soon\n", "'soon' is no duration"),
    ):
        path.write_text(text)
        done = run("serve", "--state", str(tmp_path / "state"), "--config", str(path))
        assert done.returncode == 1 and said in done.stderr and str(path) in done.stderr
    done = run("serve", "--state", str(tmp_path / "state"), "--config", str(tmp_path / "none.yaml"))
    assert done.returncode == 1 and "none.yaml" in done.stderr


# ---- the api, over TCP ----


@pytest.fixture
def tcp(make_catnap):
    catnap = make_catnap()
    port = free_port()
    catnap.api = f"127.0.0.1:{port}"
    catnap.start()
    catnap.api = f"http://127.0.0.1:{port}"
    catnap.api_port = port
    catnap.token = (catnap.state / "api-token").read_text().strip()
    return catnap


def test_the_token(tcp):
    assert tcp.ps() == {"apps": []}, "the user's own command line finds it"
    assert run("ps", env={"CATNAP_API": f"http://localhost:{tcp.api_port}"}).returncode == 0
    assert stat.S_IMODE(os.stat(tcp.state / "api-token").st_mode) == 0o600
    assert tcp.cli("ps", env={"CATNAP_API_TOKEN": tcp.token}).returncode == 0
    done = tcp.cli("ps", env={"CATNAP_API_TOKEN": "x" * 64}, check=False)
    assert done.returncode == 1 and "CATNAP_API_TOKEN" in done.stderr and tcp.token not in done.stderr
    for headers in (
        {},
        {"Authorization": "Bearer"},
        {"Authorization": f"Basic {tcp.token}"},
        {"Authorization": f"Bearer {tcp.token[:-1]}"},
        {"Authorization": f"Bearer {tcp.token}x"},
    ):
        answer = tcp.get(tcp.api_port, "/v1/ps", headers=headers)
        assert answer.status == 401 and "WWW-Authenticate" in answer.headers and "api-token" in answer.text
    assert tcp.get(tcp.api_port, "/v1/ps", headers={"Authorization": f"bearer {tcp.token}"}).json() == {
        "apps": []
    }


def test_no_token_to_be_found(tcp, tmp_path):
    found = [p for p in pathlib.Path("/run").glob(f"catnap-*/api-token-127.0.0.1:{tcp.api_port}")]
    assert len(found) == 1
    found[0].unlink()
    done = tcp.cli("ps", check=False)
    assert done.returncode == 1 and "CATNAP_API_TOKEN" in done.stderr


def put(catnap, body, headers=None):
    return catnap.request(
        catnap.api_port,
        "/v1/apps",
        "PUT",
        body,
        {"Authorization": f"Bearer {catnap.token}", "Content-Type": "application/json", **(headers or {})},
    )


def test_a_body_over_the_limit(tcp, tiny, tmp_path):
    answer = put(tcp, json.dumps({"yaml": "#" * (2 << 20)}).encode())
    assert answer.status == 413 and "bytes" in answer.json()["error"]
    yaml = tmp_path / "big.yaml"
    yaml.write_text(tiny_yaml(tiny) + "#" * (2 << 20))
    done = tcp.cli("up", str(yaml), check=False)
    assert done.returncode == 1 and "bytes" in done.stderr
    yaml.write_text(tiny_yaml(tiny) + "#" * (300 << 10))
    done = tcp.cli("up", str(yaml), check=False)
    assert done.returncode == 1 and "big.yaml: " in done.stderr and "262144" in done.stderr
    assert tcp.ps() == {"apps": []}


def test_a_request_over_the_limit_of_the_gateway(make_catnap, tiny, tmp_path):
    (tmp_path / "catnapd.yaml").write_text("body_size: 1K\n")
    catnap = make_catnap(extra=["--config", str(tmp_path / "catnapd.yaml")]).start()
    port = free_port()
    catnap.up(tiny_yaml(tiny, publish=port))
    answer = catnap.request(port, "/", "POST", b"x" * 1025)
    assert answer.status == 413 and "limit" in answer.text
    assert catnap.state_of("tiny", "web") == "asleep", "nothing is woken for it"
    assert catnap.request(port, "/", "POST", b"x" * 1024).status == 200


@pytest.mark.parametrize(
    "body, said",
    [
        (b"", "no JSON"),
        (b"{", "no JSON"),
        (b"[]", "the body is"),
        (b"{}", "the body is"),
        (b'{"yaml": 7}', "texts"),
        (b'{"yaml": "app: a", "file_name": 7}', "texts"),
        (b'{"yaml": "app: a", "env": []}', "functions: missing"),
        (b'{"yaml": "\xff"}', "no JSON"),
        (b'{"app": "a", "functions": 7}', "app"),
        (b'{"yaml": "app: \\u0000"}', "no JSON"),
        (b"[" * 100000, "no JSON"),
    ],
)
def test_bodies_that_say_nothing(tcp, body, said):
    answer = put(tcp, body)
    assert answer.status == 400 and said in answer.json()["error"], answer.text
    assert tcp.ps() == {"apps": []}


@pytest.mark.parametrize(
    "method, path, status",
    [
        ("GET", "/", 404),
        ("GET", "/v1/nothing", 404),
        ("POST", "/v1/ps", 404),
        ("GET", "/v1/apps", 405),
        ("POST", "/v1/apps/x/eat", 404),
        ("GET", "/v1/logs", 400),
        ("GET", "/v1/logs?app=..%2f..%2fetc", 400),
        ("GET", "/v1/logs?app=x&last=-1", 400),
        ("GET", "/v1/logs?app=x", 404),
        ("DELETE", "/v1/apps/x", 404),
        ("DELETE", "/v1/apps/", 404),
    ],
)
def test_routes_that_are_none(tcp, method, path, status):
    answer = tcp.request(tcp.api_port, path, method, headers={"Authorization": f"Bearer {tcp.token}"})
    assert answer.status == status and answer.json()["error"]
