"""config.toml: models here and on other servers, limits, and what a user is told when it is wrong."""

import concurrent.futures
import json
import os
import socket
import subprocess
import threading

import pytest
from conftest import BIN, wait_for
from tabby import SMALL, Tabby
from upstream import Upstream, events, fault, forever, lines


@pytest.fixture
def upstream():
    made = Upstream()
    yield made
    made.close()


@pytest.fixture
def root(tmp_path):
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


@pytest.fixture
def configured(root):
    """Starts a server with this config.toml."""
    started = []

    def start(toml, *arguments, **more):
        (root / "config.toml").write_text(toml)
        tabby = Tabby(*arguments, root=root, **more).start()
        started.append(tabby)
        return tabby

    yield start
    for tabby in started:
        tabby.stop()


def fails(root, toml, *arguments):
    (root / "config.toml").write_text(toml)
    return subprocess.run(
        [BIN / "tabby", "serve", "--port", "0", "--no-webserver", *arguments],
        env={**os.environ, "TABBY_ROOT": str(root)},
        capture_output=True,
        text=True,
        timeout=60,
    )


def http(upstream, model, kind, **more):
    more = "".join(f"{k} = {json.dumps(v)}\n" for k, v in more.items())
    return f'[model.{model}.http]\nkind = "{kind}"\napi_endpoint = "{upstream.url}"\n{more}'


# ---- models here ----


def test_a_model_of_the_configuration(configured):
    tabby = configured(
        f'[model.completion.local]\nmodel_id = "{SMALL}"\nparallelism = 2\ncontext_size = 512\n'
    )
    assert tabby.get("/v1/health").json()["model"] == str(SMALL)
    assert "Overriding" not in tabby.errors()
    # A prompt longer than the context loses what is farthest from the cursor.
    dense = "".join(chr(0x4E00 + i) for i in range(400))  # two or three tokens a character
    assert tabby.text(dense + "\nnumbers = [1, 2, 3, 4, 5, 6,", temperature=0).startswith(" 7, 8")
    raw = {"debug_options": {"raw_prompt": dense + "\n1, 2, 3, 4, 5, 6,"}, "temperature": 0}
    assert tabby.post("/v1/completions", raw).json()["choices"][0]["text"].startswith(" 7, 8")
    # More at once than it holds: they wait for each other.
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        asked = [f"{i}{dense[i:90]}\nnumbers = [{i}, {i + 1}," for i in range(4)]
        assert all(pool.map(lambda prefix: tabby.text(prefix, temperature=0), asked))
    assert tabby.metrics()["copycat_jobs_failed_total"] == 0


def test_the_command_line_comes_first(configured):
    tabby = configured(
        '[model.completion.local]\nmodel_id = "/nowhere"\n[model.chat.local]\nmodel_id = "/nowhere"\n',
        "--model",
        SMALL,
        "--chat-model",
        SMALL,
    )
    assert tabby.get("/v1/health").json()["model"] == str(SMALL)
    for kind in ("completion", "chat"):
        assert f"Overriding {kind} model from config.toml. The overriding behavior" in tabby.errors()


def test_decoding_tokens_and_input_length(configured):
    tabby = configured("[completion]\nmax_decoding_tokens = 3\nmax_input_length = 60\n", "--model", SMALL)
    before = tabby.metrics()
    tabby.text("x = 1\n" * 100 + "numbers = [1, 2, 3, 4, 5,", temperature=0)
    after = tabby.metrics()
    assert after["copycat_generated_tokens_total"] - before["copycat_generated_tokens_total"] == 3
    assert after["copycat_prompt_tokens_total"] - before["copycat_prompt_tokens_total"] <= 60


def test_additional_languages(configured):
    toml = '[[additional_languages]]\nlanguages = ["swift"]\nexts = ["swift"]\n'
    toml += 'line_comment = "//"\ntop_level_keywords = ["import", "func"]\n'
    tabby = configured(toml, "--model", SMALL)
    snippet = {"filepath": "a.swift", "body": "let x = 1"}
    body = {
        "language": "swift",
        "segments": {"prefix": "x", "declarations": [snippet]},
        "debug_options": {"return_prompt": True},
    }
    prompt = tabby.post("/v1/completions", body).json()["debug_data"]["prompt"]
    assert prompt == "// Path: a.swift\n// let x = 1\nx"


# ---- what is wrong with it ----


@pytest.mark.parametrize(
    "toml, words",
    [
        ("[completion\n", ["line 1"]),
        ("[completion]\nmax_decoding_tokens = true\n", ["line 2", "max_decoding_tokens", "an integer"]),
        ("[server]\n", ["completion_timeout"]),
        ('[model.chat.http]\nkind = "cat/chat"\nmodel_name = "m"\n', ["Unsupported model kind: cat/chat"]),
        ('[model.completion.http]\nkind = "vllm/completion"\n', ["api_endpoint is required"]),
        ('[[additional_languages]]\nlanguages = ["rust"]\nexts = ["rs"]\n', ["a language 'rust' already"]),
        (
            '[model.completion.http]\nkind = "vllm/completion"\napi_endpoint = "ftp://x"\n',
            ["no http or https"],
        ),
    ],
)
def test_a_configuration_that_is_wrong(root, toml, words):
    done = fails(root, toml)
    assert done.returncode == 101
    for word in words:
        assert word in done.stderr


def test_a_configuration_that_is_no_toml_names_the_file(root):
    done = fails(root, "= 3")
    assert done.stderr.startswith("Must be able to load config: Config file")
    assert str(root / "config.toml") in done.stderr and "is not valid" in done.stderr


def test_a_model_outside_of_its_own_list(root):
    toml = '[model.chat.http]\nkind = "openai/chat"\nmodel_name = "a"\nsupported_models = ["b"]\n'
    done = fails(root, toml)
    assert done.returncode == 1 and "supported_models" in done.stderr


def test_two_repositories_in_one_place_cost_no_models(configured):
    two = "".join(f'[[repositories]]\ngit_url = "https://{u}h/a"\n' for u in ("", "me@"))
    tabby = configured(two + f'[model.completion.local]\nmodel_id = "{SMALL}"\n')
    assert "Parsing config failed" in tabby.errors() and "https_h_a" in tabby.errors()
    assert tabby.get("/v1/health").json()["model"] == str(SMALL)


def test_keys_that_nobody_knows_are_told(configured):
    tabby = configured("[completion]\nmax_decoding_token = 3\n")
    assert "line 2: [completion] max_decoding_token: there is no such key; it is ignored" in tabby.errors()


# ---- completions of other servers ----

KINDS = {
    "llama.cpp/completion": (
        "/completion",
        lambda b: events({"content": "on", "stop": False}, {"content": "e", "stop": True}, done=False),
    ),
    "ollama/completion": (
        "/api/generate",
        lambda b: lines({"response": "on", "done": False}, {"response": "e", "done": True}),
    ),
    "openai/completion": (
        "/completions",
        lambda b: events(*({"choices": [{"text": t}]} for t in ("on", "e"))),
    ),
    "vllm/completion": ("/completions", lambda b: events(*({"choices": [{"text": t}]} for t in ("on", "e")))),
}
KINDS["mistral/completion"] = (
    "/v1/fim/completions",
    lambda b: events(*({"choices": [{"delta": {"content": t}}]} for t in ("on", "e"))),
)
PARTS = ("mistral/completion", "openai/completion")


@pytest.mark.parametrize("kind", KINDS)
def test_completions_of_another_server(configured, upstream, kind):
    path, says = KINDS[kind]
    upstream.says[path] = says
    template = "<P>{prefix}<S>{suffix}<M>"
    toml = http(upstream, "completion", kind, model_name="m1", api_key="k3y", prompt_template=template)
    tabby = configured(toml)
    health = tabby.get("/v1/health").json()
    assert health["model"] == "m1"
    assert health["models"]["completion"]["remote"] == {
        "kind": kind,
        "model_name": "m1",
        "api_endpoint": upstream.url,
    }
    assert tabby.text("return ", "\n}\n", temperature=0.5, seed=4) == "one"
    (asked,) = upstream.asked
    assert asked["headers"]["Authorization"] == "Bearer k3y" and asked["body"]["stream"] is True
    if kind in PARTS:
        assert (asked["body"]["prompt"], asked["body"]["suffix"]) == ("return ", "\n}\n")
    else:
        assert asked["body"]["prompt"] == "<P>return <S>\n}\n<M>"
    options = asked["body"].get("options", asked["body"])
    assert options["temperature"] == 0.5
    assert 64 in (options.get("max_tokens"), options.get("n_predict"), options.get("num_predict"))


def test_a_stop_word_of_another_servers_text_ends_its_work(configured, upstream):
    chunk = "data: " + json.dumps({"choices": [{"text": "one\n\ntwo"}]}) + "\n\n"
    upstream.says["/completions"] = lambda body: forever(chunk)
    tabby = configured(http(upstream, "completion", "openai/completion", additional_stop_words=["never"]))
    assert tabby.text("x = ") == "one"
    wait_for("the other server is left", lambda: upstream.left == 1)


def test_a_completion_that_takes_too_long(configured, upstream):
    upstream.says["/completions"] = lambda body: forever(": patience\n\n")
    toml = "[server]\ncompletion_timeout = 1\n" + http(upstream, "completion", "openai/completion")
    tabby = configured(toml)
    answer = tabby.complete("x = ")
    assert (answer.status, answer.body) == (408, b"")
    wait_for("the other server is left", lambda: upstream.left == 1)


def test_a_client_that_leaves_ends_the_other_servers_work(configured, upstream):
    upstream.says["/completions"] = lambda body: forever(": patience\n\n")
    tabby = configured(http(upstream, "completion", "openai/completion"))
    data = json.dumps({"segments": {"prefix": "x"}}).encode()
    connection = socket.create_connection(("127.0.0.1", tabby.port))
    head = "POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    connection.sendall(head.encode() + f"Content-Length: {len(data)}\r\n\r\n".encode() + data)
    wait_for("it is asked", lambda: upstream.asked)
    connection.close()
    wait_for("the other server is left", lambda: upstream.left == 1)


@pytest.mark.parametrize(
    "says",
    [
        lambda b: fault(500, "no luck today"),
        lambda b: events({"error": {"message": "no luck today"}}),
        lambda b: (200, "text/event-stream", ["data: no luck today\n\n"]),
    ],
)
def test_another_server_that_fails_gives_an_empty_text(configured, upstream, says):
    upstream.says["/completions"] = says
    tabby = configured(http(upstream, "completion", "openai/completion"))
    assert tabby.text("x = ") == ""
    assert "no luck today" in tabby.errors()


def test_another_server_that_is_not_there(configured, upstream):
    toml = http(upstream, "completion", "openai/completion") + http(
        upstream, "chat", "openai/chat", model_name="m"
    )
    tabby = configured(toml)
    upstream.close()
    assert tabby.text("x = ") == ""
    answer = tabby.post(
        "/v1/chat/completions", {"model": "", "messages": [{"role": "user", "content": "hi"}]}
    )
    assert answer.status == 500


def test_requests_over_the_limit_wait(configured, upstream):
    upstream.says["/completions"] = lambda body: events({"choices": [{"text": "one"}]})
    toml = http(upstream, "completion", "openai/completion")
    toml += "[model.completion.http.rate_limit]\nrequest_per_minute = 100\n"  # two a second
    tabby = configured(toml)
    with concurrent.futures.ThreadPoolExecutor(5) as pool:
        assert list(pool.map(lambda i: tabby.text(f"x{i} = "), range(5))) == ["one"] * 5
    times = sorted(a["at"] for a in upstream.asked)
    assert times[4] - times[0] > 1, "the fifth comes in the third second"


# ---- chats of other servers ----

HELLO = [{"role": "user", "content": "hi"}]


def chunk(**delta):
    return {"id": "c1", "created": 5, "model": "m1", "choices": [{"index": 0, "delta": delta}]}


@pytest.mark.parametrize("kind", ["openai/chat", "mistral/chat", "azure/chat"])
def test_chats_of_another_server(configured, upstream, kind):
    path = "/chat/completions"
    if kind == "azure/chat":
        path = "/openai/deployments/m1/chat/completions?api-version=2024-02-01"
    end = {"id": "c1", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    upstream.says[path] = lambda body: (
        events(chunk(role="assistant"), chunk(content="Hel"), chunk(content="lo"), end)
        if body["stream"]
        else (200, "application/json", [json.dumps({"choices": [{"message": {"content": "Hello"}}]})])
    )
    tabby = configured(http(upstream, "chat", kind, model_name="m1", api_key="k3y"))
    body = {"model": "", "messages": HELLO, "presence_penalty": 0.5, "user": "me", "temperature": 0.3}
    answer = tabby.post("/v1/chat/completions", body)
    chunks = [json.loads(line[6:]) for line in answer.text.split("\n\n") if line.startswith("data: ")]
    assert "".join(c["choices"][0]["delta"]["content"] or "" for c in chunks) == "Hello"
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop" and chunks[0]["id"] == "c1"
    assert list(chunks[0]["choices"][0]["delta"]) == [
        "content",
        "function_call",
        "tool_calls",
        "role",
        "refusal",
    ]
    asked = upstream.asked[0]
    key = asked["headers"].get("Authorization") or asked["headers"].get("api-key")
    assert key == ("k3y" if kind == "azure/chat" else "Bearer k3y")
    assert asked["body"]["model"] == "m1" and asked["body"]["temperature"] == 0.3
    assert ("presence_penalty" in asked["body"]) == (kind != "mistral/chat")
    whole = tabby.post("/v1/chat/completions", {**body, "stream": False}).json()
    assert whole["choices"][0]["message"]["content"] == "Hello"


def test_models_that_may_be_chosen(configured, upstream):
    upstream.says["/chat/completions"] = lambda body: events(chunk(content=body["model"]))
    toml = http(upstream, "chat", "openai/chat", model_name="m1", supported_models=["m1", "o1-mini"])
    tabby = configured(toml)
    assert tabby.get("/v1beta/models").json() == {"completion": None, "chat": ["m1", "o1-mini"]}

    def chosen(model):
        body = {"model": model, "messages": HELLO, "frequency_penalty": 1}
        assert tabby.post("/v1/chat/completions", body).status == 200
        return upstream.asked[-1]["body"]

    assert chosen("o1-mini")["model"] == "o1-mini" and "frequency_penalty" not in upstream.asked[-1]["body"]
    assert chosen("")["model"] == "m1" and "frequency_penalty" in upstream.asked[-1]["body"]
    assert chosen("else")["model"] == "m1"
    assert "there is no model 'else' here" in tabby.errors()


def read_until(tabby, seen, words):
    """A streamed chat's bytes to the end; `seen` is set when the first of `words` is among them."""
    connection = socket.create_connection(("127.0.0.1", tabby.port))
    data = json.dumps({"model": "", "messages": HELLO}).encode()
    head = "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    head += f"Connection: close\r\nContent-Length: {len(data)}\r\n\r\n"
    connection.sendall(head.encode() + data)
    got = b""
    while True:
        try:
            piece = connection.recv(4096)
        except ConnectionResetError:
            return got
        if not piece:
            return got
        got += piece
        if words in got:
            seen.set()


def test_a_chat_that_breaks_in_the_middle_is_cut(configured, upstream):
    seen = threading.Event()

    def half_of_it():
        yield "data: " + json.dumps(chunk(content="one")) + "\n\n"
        seen.wait(60)
        yield 'data: {"error": "too late"}\n\n'

    upstream.says["/chat/completions"] = lambda body: (200, "text/event-stream", half_of_it())
    tabby = configured(http(upstream, "chat", "openai/chat", model_name="m1"))
    got = read_until(tabby, seen, b'"one"')
    assert seen.is_set() and not got.endswith(b"0\r\n\r\n"), "nobody takes half an answer for a whole one"


def test_a_stream_with_nothing_to_tell_is_kept_alive(configured, upstream):
    seen = threading.Event()

    def late():
        assert seen.wait(60)
        yield "data: " + json.dumps(chunk(content="one")) + "\n\n"

    upstream.says["/chat/completions"] = lambda body: (200, "text/event-stream", late())
    tabby = configured(http(upstream, "chat", "openai/chat", model_name="m1"))
    got = read_until(tabby, seen, b"\r\n:\n\n\r\n")  # a comment, in a chunk of its own
    assert seen.is_set() and b'"one"' in got and got.endswith(b"0\r\n\r\n")


def test_one_server_behind_another(configured):
    with Tabby("--chat-model", SMALL) as behind:
        toml = (
            f'[model.chat.http]\nkind = "openai/chat"\nmodel_name = "m"\napi_endpoint = "{behind.url}/v1"\n'
        )
        tabby = configured(toml)
        body = {"model": "", "messages": HELLO, "temperature": 0, "max_tokens": 5}
        through = tabby.post("/v1/chat/completions", {**body, "stream": False}).json()
        assert through["choices"][0]["message"]["content"]
        assert "data: " in tabby.post("/v1/chat/completions", body).text
