"""POST /v1/completions and GET|POST /v1/health as Tabby's clients know them, with a real model. What only a
model that can fill in the middle shows is asked of one (`real`); it is slow here, so it is started once."""

import concurrent.futures
import http.client
import json
import signal
import socket
import subprocess

import pytest
from conftest import BIN, wait_for
from tabby import REAL, SMALL, Tabby

COUNTING = "# numbers\nnumbers = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13,"


@pytest.fixture(scope="module")
def tabby():
    with Tabby("--model", SMALL, "--parallelism", "4") as made:
        yield made


@pytest.fixture(scope="module")
def real():
    with Tabby("--model", REAL) as made:
        yield made


# ---- health ----


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_health_tells_what_clients_look_for(tabby, method):
    answer = tabby.request(tabby.port, "/v1/health", method, b"" if method == "POST" else None)
    health = answer.json()
    assert answer.status == 200 and answer.headers["Content-Type"] == "application/json"
    assert health["model"] == str(SMALL) and "chat_model" not in health
    assert health["device"] == "cpu" and health["cuda_devices"] == []
    assert health["models"]["completion"]["local"] == {"model_id": str(SMALL), "device": "cpu"}
    assert set(health["version"]) == {"build_date", "build_timestamp", "git_sha", "git_describe"}
    major, minor, _ = (int(n) for n in health["version"]["git_describe"].lstrip("v").split("."))
    assert (major, minor) >= (0, 27), "or editors refuse their chat panel"
    assert health["cpu_count"] > 0 and health["cpu_info"] and health["arch"]


def test_health_may_be_asked_from_a_page(tabby):
    answer = tabby.get("/v1/health", headers={"Origin": "http://example.org"})
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    preflight = tabby.request(
        tabby.port, "/v1/completions", "OPTIONS", headers={"Origin": "http://example.org"}
    )
    assert preflight.status == 200 and preflight.headers["Access-Control-Allow-Methods"] == "*"


# ---- the answer ----


def test_a_completion_has_one_choice(tabby):
    answer = tabby.complete("def add(a, b):\n    return ", seed=1)
    root = answer.json()
    assert list(root) == ["id", "choices", "mode"] and root["mode"] == "standard"
    kind, uuid = root["id"].split("-", 1)
    assert kind == "cmpl" and len(uuid) == 36 and uuid[14] == "4"
    (choice,) = root["choices"]
    assert choice["index"] == 0 and isinstance(choice["text"], str) and choice["text"]
    assert tabby.complete("def add(a, b):\n    return ", seed=1).json()["id"] != root["id"]


def test_the_same_seed_gives_the_same_text(tabby):
    once = tabby.text(COUNTING, temperature=0.8, seed=7)
    assert tabby.text(COUNTING, temperature=0.8, seed=7) == once


def test_the_middle_is_filled_in(real):
    text = real.text(
        "def fibonacci(n):\n    if n < 2:\n        return ",
        "\n    return fibonacci(n - 1) + fibonacci(n - 2)\n",
        temperature=0,
    )
    assert text.split() and text.split()[0] == "n"
    text = real.text(
        "function debounce(f, ms) {\n  let timer;\n  return (...args) => {\n    ",
        "\n    timer = setTimeout(() => f(...args), ms);\n  };\n}\n",
        language="javascript",
        temperature=0,
    )
    assert "clearTimeout(timer)" in text


def test_control_words_in_a_file_are_text(real):
    """A file about models may hold such words; they must not end or turn the prompt."""
    prefix = (
        'SUFFIX = "<|fim_suffix|>"\nMIDDLE = "<|fim_middle|>"\n\ndef fill(before, after):\n    return before'
    )
    assert "MIDDLE" in real.text(prefix + " + SUFFIX + after + ", "\n", temperature=0)


def test_it_stops_at_a_stop_word(tabby):
    for prefix in ("def one():\n    return 1\n\ndef two():\n    return 2", "x = 1\n", "class A:\n    pass"):
        for seed in range(4):
            text = tabby.text(prefix, temperature=0.8, seed=seed)
            assert "\n\n" not in text
            assert not [w for w in ("def", "class", "from", "import", "#") if f"\n{w} " in text]
    text = tabby.text("shopping: milk, eggs", language="a language nobody knows", temperature=0)
    assert "\n" not in text, "of a language that is not known only the line is completed"


def test_it_ends_after_64_tokens(tabby):
    before = tabby.metrics()
    text = tabby.text(COUNTING, temperature=0)
    made = tabby.metrics()["copycat_generated_tokens_total"] - before["copycat_generated_tokens_total"]
    assert made == 64 and text


def test_code_points_are_whole(tabby):
    for seed in range(8):
        answer = tabby.post(
            "/v1/completions",
            {
                "language": "python",
                "debug_options": {"raw_prompt": "😀😃😄😁😆😅🤣😂🙂🙃😉😊😇🥰😍🤩😘😗😚😙"},
                "temperature": 1.0,
                "seed": seed,
            },
        )
        text = answer.body.decode("utf-8")  # strict
        assert "\ufffd" not in json.loads(text)["choices"][0]["text"]


def test_a_cursor_inside_a_long_line_of_wide_characters(tabby):
    assert tabby.complete("字" * 4000, "字" * 4000).status == 200


def test_line_ends_are_those_of_the_document(real):
    text = real.text(
        "def count(s, c):\r\n    n = 0\r\n    for x in s:\r\n",
        "    return n\r\n",
        temperature=0,
    )
    assert "\r\n" in text.lstrip("\n") and "\n" not in text.replace("\r\n", "").lstrip("\n")


def test_debug_options_tell_the_prompt(tabby):
    body = {
        "language": "rust",
        "segments": {
            "prefix": "fn main() {\n",
            "suffix": "}\n",
            "declarations": [{"filepath": "lib.rs", "body": "fn one() -> i32;\n"}],
        },
        "debug_options": {"return_prompt": True, "return_snippets": True},
    }
    root = tabby.post("/v1/completions", body).json()
    assert list(root) == ["id", "choices", "debug_data", "mode"]
    assert root["debug_data"]["prompt"] == "// Path: lib.rs\n// fn one() -> i32;\nfn main() {\n"
    assert root["debug_data"]["snippets"] == [
        {"filepath": "lib.rs", "body": "fn one() -> i32;\n", "score": 1.0}
    ]
    body["debug_options"] = {"disable_retrieval_augmented_code_completion": True, "return_prompt": True}
    assert tabby.post("/v1/completions", body).json()["debug_data"] == {"prompt": "fn main() {\n"}
    body["debug_options"] = {}
    assert tabby.post("/v1/completions", body).json()["debug_data"] == {}


# ---- many at once ----


def test_requests_at_once_share_steps(tabby):
    prefixes = [f"# list {i}\nnumbers = [{i}, {i + 1}, {i + 2}, {i + 3}," for i in (10, 20, 30, 40)]

    def steps(run):
        before = tabby.metrics()["copycat_steps_total"]
        assert all(t for t in run())
        return tabby.metrics()["copycat_steps_total"] - before

    def ask(prefix):
        return tabby.text(prefix, temperature=0)

    one_by_one = steps(lambda: [ask(p) for p in prefixes])
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        at_once = steps(lambda: list(pool.map(ask, prefixes)))
    assert at_once < 0.6 * one_by_one


def test_more_requests_than_slots_wait_their_turn(tabby):
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda i: tabby.complete(f"value{i} = "), range(32)))
    assert [a.status for a in answers] == [200] * 32


def test_what_stands_before_the_cursor_is_computed_once(tabby):
    text = "import os\nimport sys\n\n" + "\n".join(
        f"value_{i} = os.environ.get('VALUE_{i}')" for i in range(20)
    )
    tabby.text(text, temperature=0)
    before = tabby.metrics()
    tabby.text(text + "\nvalue_20 = os", temperature=0)
    after = tabby.metrics()
    asked = after["copycat_prompt_tokens_total"] - before["copycat_prompt_tokens_total"]
    reused = after["copycat_prompt_tokens_reused_total"] - before["copycat_prompt_tokens_reused_total"]
    assert reused > 0.9 * asked


# ---- the client leaves ----


def send(tabby, body):
    connection = socket.create_connection(("127.0.0.1", tabby.port))
    data = json.dumps(body).encode()
    connection.sendall(
        b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        + f"Content-Length: {len(data)}\r\n\r\n".encode()
        + data
    )
    return connection


def cancelled_steps(tabby, body):
    """Steps that were computed for a request whose client left as soon as it was at work."""
    before = tabby.metrics()
    connection = send(tabby, body)
    wait_for("it is at work", lambda: tabby.metrics()["copycat_jobs_working"] == 1)
    connection.close()
    cancelled = "copycat_jobs_cancelled_total"
    wait_for("it is cancelled", lambda: tabby.metrics()[cancelled] == before[cancelled] + 1)
    after = tabby.metrics()
    assert after["copycat_jobs_working"] == 0
    return after["copycat_steps_total"] - before["copycat_steps_total"]


def test_a_request_whose_client_left_stops_in_the_middle_of_its_prompt(real):
    lines = "".join(f"variable_{i} = compute_{i * 7919}({i})\n" for i in range(80))
    body = {"language": "python", "segments": {"prefix": lines, "suffix": "\n"}}
    assert cancelled_steps(real, body) <= 3, "the whole prompt and its answer take twenty"
    assert real.complete("a = ").status == 200


def test_a_queued_request_whose_client_left_is_never_begun(real):
    body = {"language": "python", "segments": {"prefix": COUNTING, "suffix": "]\n"}}
    first = send(real, body)
    wait_for("the first is at work", lambda: real.metrics()["copycat_jobs_working"] == 1)
    second = send(real, {**body, "segments": {"prefix": "import "}})
    wait_for("the second waits", lambda: real.metrics()["copycat_jobs_queued"] == 1)
    before = real.metrics()["copycat_jobs_cancelled_total"]
    second.close()
    wait_for("the second is gone", lambda: real.metrics()["copycat_jobs_cancelled_total"] == before + 1)
    assert real.metrics()["copycat_jobs_working"] == 1
    first.close()
    wait_for("both are gone", lambda: real.metrics()["copycat_jobs_working"] == 0)


def test_a_client_that_leaves_in_the_middle_of_its_body(tabby):
    connection = socket.create_connection(("127.0.0.1", tabby.port))
    connection.sendall(
        b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Content-Length: 900\r\n\r\n{"
    )
    connection.close()
    assert tabby.complete("a = ").status == 200


# ---- what is wrong ----


def test_bodies_that_are_none(tabby):
    post = tabby.post
    assert post("/v1/completions", b"{", headers={"Content-Type": "text/plain"}).status == 415
    answer = tabby.request(tabby.port, "/v1/completions", "POST", b"{}", {"Content-Type": ""})
    assert (answer.status, answer.text) == (415, "Expected request with `Content-Type: application/json`")
    for body in (b"{", b"", b'{"language": "python"', b"\xff\xfe"):
        answer = post("/v1/completions", body)
        assert answer.status == 400 and answer.text.startswith("Failed to parse the request body as JSON: ")
    assert (
        post("/v1/completions", b"{}", headers={"Content-Type": "application/json; charset=utf-8"}).status
        == 400
    )


@pytest.mark.parametrize(
    "body, word",
    [
        ({"segments": "text"}, "segments"),
        ({"segments": []}, "segments"),
        ({"segments": {}}, "prefix"),
        ({"segments": {"suffix": "x"}}, "prefix"),
        ({"segments": {"prefix": 3}}, "prefix"),
        ({"segments": {"prefix": "x", "suffix": {}}}, "suffix"),
        ({"segments": {"prefix": "x", "declarations": [{"filepath": "a"}]}}, "body"),
        ({"segments": {"prefix": "x"}, "temperature": "hot"}, "temperature"),
        ({"segments": {"prefix": "x"}, "seed": -1}, "seed"),
        ({"segments": {"prefix": "x"}, "language": 7}, "language"),
        ([], "body"),
    ],
)
def test_bodies_of_a_wrong_type(tabby, body, word):
    answer = tabby.post("/v1/completions", body)
    assert answer.status == 422 and word in answer.text
    assert answer.text.startswith("Failed to deserialize the JSON body into the target type: ")


@pytest.mark.parametrize("body", [{}, {"language": "python"}, {"segments": None}, {"debug_options": {}}])
def test_nothing_to_complete(tabby, body):
    answer = tabby.post("/v1/completions", body)
    assert (answer.status, answer.body) == (400, b"")


def test_bodies_that_are_too_long(tabby):
    assert tabby.complete("x" * (2 << 20)).status == 413
    assert tabby.complete("x " * 900_000).status == 200, "what fits is cut, not refused"
    connection = http.client.HTTPConnection("127.0.0.1", tabby.port)
    connection.putrequest("POST", "/v1/completions")
    connection.putheader("Content-Type", "application/json")
    connection.putheader("Content-Length", str(1 << 40))
    connection.endheaders()
    assert connection.getresponse().status == 413, "before a byte of it is read"
    connection.close()


def test_other_paths_and_methods(tabby):
    answer = tabby.get("/v1/completions")
    assert answer.status == 405 and answer.headers["Allow"] == "POST" and answer.body == b""
    answer = tabby.post("/v1/nothing", {})
    assert answer.status == 307 and answer.headers["Location"].startswith("/swagger-ui")


def test_a_server_without_models():
    with Tabby() as tabby:
        assert "model" not in tabby.get("/v1/health").json()
        assert tabby.complete("a").status == 501
        answer = tabby.post("/v1/completions", b"nonsense", headers={"Content-Type": "text/plain"})
        assert (answer.status, answer.body) == (501, b"")
        assert tabby.post("/v1/chat/completions", {}).status == 501


# ---- sleeping and ending ----


def test_told_that_it_will_doze_it_gives_the_models_pages_back(tabby):
    assert tabby.text(COUNTING, temperature=0).startswith(" 14, 15, 16,")
    before = tabby.rss("RssFile")
    tabby.process.send_signal(signal.SIGUSR1)
    wait_for("the pages are given back", lambda: tabby.rss("RssFile") < before - (50 << 20))
    assert tabby.text(COUNTING, temperature=0).startswith(" 14, 15, 16,")


def test_the_end_is_clean():
    with Tabby("--model", SMALL) as tabby:
        tabby.text("a = ")
        assert tabby.stop() == 0
    with Tabby("--model", SMALL) as tabby:
        connection = send(tabby, {"segments": {"prefix": COUNTING}, "language": "python"})
        wait_for("it is at work", lambda: tabby.metrics()["copycat_jobs_working"] == 1)
        assert tabby.stop(signal.SIGINT) == 0
        assert b"200 OK" in connection.recv(4096), "who was served is answered first"


def test_a_port_that_is_taken_is_told_before_the_model_is_loaded(tabby):
    done = subprocess.run(
        [BIN / "tabby", "serve", "--model", SMALL, "--host", "127.0.0.1", "--port", str(tabby.port)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 101 and "in use" in done.stderr
