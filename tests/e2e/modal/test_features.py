"""What else a program of Modal's can say: files beside it, every way of the web, batches, calls by their ids,
and what is refused."""

import threading

import pytest

from .client import PATIENCE_S, free_port, labels

MORE = """
import asyncio
import os
import sys

if OLD:
    files = {"image": image, "mounts": [modal.Mount.from_local_file("extra.txt", remote_path="/extra.txt")]}
else:
    files = {"image": image.add_local_file("extra.txt", "/extra.txt")}
app = modal.App("$APP", image=image)
FunctionCall = modal.functions.FunctionCall if OLD else modal.FunctionCall


@app.function(**files)
def where():
    ids = modal.current_input_id(), modal.current_function_call_id()
    return open("/extra.txt").read(), modal.is_local(), *(i[:3] for i in ids)


@app.function(retries=modal.Retries(max_retries=1, initial_delay=1.0, backoff_coefficient=1.0))
def always():
    print("trying")
    raise ValueError("never good")


if not OLD:

    @app.function()
    @modal.batched(max_batch_size=4, wait_ms=600000)
    def whole(xs: list[int]) -> list[tuple]:
        return [(2 * x, len(xs)) for x in xs]

    @app.function()
    @modal.batched(max_batch_size=4, wait_ms=100)
    def alone(xs: list[int]) -> list[tuple]:
        return [(2 * x, len(xs)) for x in xs]


@app.cls(**limits(idle=2))
class Late:
    here = 0

    @modal.method()
    async def both(self, x):
        self.here += 1
        while self.here < 2:  # only where two are here at once
            await asyncio.sleep(0.02)
        return x

    @modal.method()
    def twice(self, x):
        return 2 * x

    @modal.method()
    def mounted(self):
        return os.path.ismount("/v")


@app.function()
def large():
    for i in range(3):
        yield bytes([i]) * 3000000


@app.function()
def outer():
    return len([where.remote(), *where.starmap([(), ()])])


def listed(function):
    from modal._utils.async_utils import synchronizer
    from modal_proto import api_pb2

    @synchronizer.create_blocking
    async def ask(function):
        stub = function._client.stub if OLD else function._client._stub
        asked = api_pb2.FunctionCallListRequest(function_id=function.object_id)
        return (await stub.FunctionCallList(asked)).function_calls

    return ask(function)


@app.local_entrypoint()
def main():
    tell("where", where.remote())
    call = outer.spawn()
    tell("outer", call.get())
    (top,) = call.get_call_graph()
    tell("graph", top.function_name, *sorted(f"{c.function_name} {c.status.name}" for c in top.children))
    every = [top, *top.children]
    tell("ids", *(len({getattr(c, name) for c in every}) for name in ("input_id", "function_call_id")))
    tell("tasks", top.task_id[:3], top.task_id in [c.task_id for c in top.children])
    tell("listed", *(f"{c.total_inputs}/{c.succeeded_inputs.total}" for c in listed(outer)))
    tell("large", [(len(piece), piece[0]) for piece in large.remote_gen()])
    if not OLD:
        tell("batch", list(whole.map(range(8))), alone.remote(8))
    for function in [always] if OLD else [always, always.with_options(retries=0)]:
        try:
            function.remote()
        except ValueError as error:
            tell("never", error)
    call = Late().twice.spawn(4)
    tell("again", FunctionCall.from_id(call.object_id).get())
    gather = modal.functions.gather if OLD else FunctionCall.gather
    tell("gather", gather(Late().twice.spawn(1), Late().twice.spawn(2)))
    options = {"allow_concurrent_inputs": 2, "concurrency_limit": 1} if OLD else {"max_containers": 1}
    pair = Late.with_options(**options)
    pair = pair if OLD else pair.with_concurrency(max_inputs=2)
    tell("both", sorted(pair().both.map([1, 2])))
    if not OLD:  # the older client does not load a volume that stands in options alone
        volume = modal.Volume.from_name("$APP", create_if_missing=True)
        other = Late.with_options(max_containers=1, volumes={"/v": volume})
        tell("options", Late().mounted.remote(), other().mounted.remote())
    tell("stats", where.get_current_stats().backlog)
"""


def test_what_else_a_call_can_be(client):
    (client.cwd / "extra.txt").write_text("beside it")
    out = client.run("run", client.write(MORE, APP=client.name("more")))
    assert out.count("trying") == (2 if client.old else 3), "twice, and where its options say so once"
    assert "by signal" not in out and "ended it" not in out, "what catnap ends itself is nobody's news"
    assert [line for line in client.told() if not line.startswith(("batch", "options"))] == [
        "where ('beside it', False, 'in-', 'fc-')",
        "outer 3",
        "graph outer where SUCCESS where SUCCESS where SUCCESS",
        "ids 4 3",
        "tasks ta- False",
        "listed 1/1",
        "large [(3000000, 0), (3000000, 1), (3000000, 2)]",
        *["never never good"] * (1 if client.old else 2),
        "again 8",
        "gather [2, 4]",
        "both [1, 2]",
        "stats 0",
    ]
    assert client.old or "options False True" in client.told()
    # They linger until four are there, whichever way they came; one alone goes when its time is up.
    whole = [(2 * x, 4) for x in range(8)]
    assert client.old or f"batch {whole} (16, 1)" in client.told()


WEB = """
import sys

app = modal.App("$APP", image=image)


@app.function(**limits())
@modal.wsgi_app()
def wsgi():
    def answer(environ, start_response):
        body = environ["wsgi.input"].read()
        start_response("200 OK", [("Content-Type", "text/plain"), ("X-Path", environ["PATH_INFO"])])
        return [b"wsgi ", body]

    return answer


@app.function(**limits())
@modal.web_server(8000, startup_timeout=30)
def server():
    import subprocess

    subprocess.Popen([sys.executable, "-m", "http.server", "8000", "--directory", "/root"])


@app.function(**limits())
@modal.asgi_app()
def events():
    async def asgi(scope, receive, send):
        if scope["type"] != "http":
            return
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for i in range(3):
            await send({"type": "http.response.body", "body": b"data: %d\\n\\n" % i, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    return asgi


if OLD:

    @app.function(**limits())
    @modal.web_endpoint(method="GET")
    def endpoint(x: int):
        return {"more": x + 1}


@app.cls(**limits())
class Page:
    @modal.enter()
    def begin(self):
        self.word = "begun"

    @modal.asgi_app()
    def page(self):
        async def asgi(scope, receive, send):
            if scope["type"] == "http":
                await send({"type": "http.response.start", "status": 200, "headers": []})
                await send({"type": "http.response.body", "body": self.word.encode()})

        return asgi

    @modal.method()
    def word_of(self):
        return self.word
"""


def test_every_way_of_the_web(client, house):
    app = client.name("ways")
    found = {
        label.split(client.tag + "-")[1]: label
        for label in labels(client.run("deploy", client.write(WEB, APP=app)))
    }
    answer = house.get(found["wsgi"], "/p", method="POST", body=b"body")
    assert (answer.text, answer.headers["X-Path"]) == ("wsgi body", "/p")
    assert "app.py" in house.get(found["server"]).text
    answer = house.get(found["events"])
    assert (
        answer.headers["Content-Type"] == "text/event-stream"
        and answer.text == "data: 0\n\ndata: 1\n\ndata: 2\n\n"
    )
    if client.old:
        assert house.get(found["endpoint"], "/?x=4").json() == {"more": 5}
    else:
        assert house.get(found["page-page"]).text == "begun", "a method of a class"
        port = free_port()
        house.catnap.cli("publish", f"{app}.Page.page", str(port))
        assert house.catnap.get(port).text == "begun"
    client.stop(app)


TARGET = """
app = modal.App("$APP", image=image)
here = 0


@app.function(max_containers=1)
@modal.concurrent(max_inputs=4, target_inputs=1)
@modal.asgi_app()
def web():
    import asyncio

    async def asgi(scope, receive, send):
        global here
        if scope["type"] != "http":
            return
        here += 1
        while here < 4:  # until all four are here at once
            await asyncio.sleep(0.05)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"together"})

    return asgi
"""


def test_a_target_is_no_limit(client, house):
    if client.old:
        pytest.skip("modal 0.64.0 knows no targets")
    app, seen = client.name("target"), []
    (label,) = labels(client.run("deploy", client.write(TARGET, APP=app)))
    asking = [
        threading.Thread(target=lambda: seen.append(house.get(label, timeout=PATIENCE_S).text))
        for _ in range(4)
    ]
    for one in asking:
        one.start()
    for one in asking:
        one.join()
    assert seen == ["together"] * 4
    assert len(house.running(app)) == 1
    client.stop(app)


MAIN = "@app.local_entrypoint()\ndef main():\n    "
REFUSED = {
    "a bucket": "b = modal.CloudBucketMount('b')\n@app.function(volumes={'/b': b})\ndef f():\n    pass\n",
    "a network file system": MAIN
    + "modal.NetworkFileSystem.from_name('n', create_if_missing=True).listdir('/')\n",
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_not_there_is_refused_with_a_sentence(client, what):
    program = f'app = modal.App("{client.name("refused")}", image=image)\n\n\n' + REFUSED[what]
    deploys = "local_entrypoint" not in program
    out = client.run("deploy" if deploys else "run", client.write(program), check=False)
    assert "docs/compat.md" in " ".join(out.replace("│", " ").split())
