"""What goes wrong in a user's own part, shown by the client as Modal shows it, and to who asks by HTTP."""

import pytest

from .client import labels

BUILD = """
image = image.run_commands("echo this is seen", "echo $WORD; exit $CODE")
app = modal.App("$APP", image=image)


@app.function()
def f():
    return open("/built.txt").read()
"""


def flat(out):
    return " ".join(out.replace("│", " ").split())


def test_a_build_that_fails_is_told_with_its_output(client):
    app = client.name("build")
    out = client.run("deploy", client.write(BUILD, APP=app, WORD="wrong-here", CODE=7), check=False)
    assert "this is seen" in out and "wrong-here" in out, out
    assert "failed" in flat(out).lower() and "exit" in flat(out).lower()
    assert client.states(app) in ([], ["stopped"])


def test_an_image_that_does_not_exist_is_told(client):
    program = BUILD.replace("image = image.run", 'image = modal.Image.from_registry("127.0.0.1:1/no").run')
    out = client.run("deploy", client.write(program, APP=client.name("no"), WORD="", CODE=0), check=False)
    assert "127.0.0.1:1/no" in out and "refused" in out, out


def test_built_once_and_again_where_it_is_forced(client):
    text = BUILD.replace('"echo $WORD; exit $CODE"', '"date +%s%N > /built.txt"')
    text += '\n\n@app.local_entrypoint()\ndef main():\n    tell("built", f.remote())\n'
    client.write(text, APP=client.name("forced"))
    for env in ({}, {"MODAL_FORCE_BUILD": "1"}, {}):
        client.run("run", "app.py", env=env)
    first, forced, after = filter(None, client.told())
    assert forced != first and after == forced


ENDS = """
app = modal.App("$APP", image=image)
if not modal.is_local() and "import" in "$HOW":
    import nosuchmodule


@app.function(**limits(idle=60), timeout=2, memory=(128, 192))
@modal.asgi_app()
def web():
    import os
    import time

    if "$HOW" == "raise":
        raise ValueError("no start today")
    if "$HOW" == "exit":
        os._exit(5)

    async def asgi(scope, receive, send):
        if scope["type"] != "http":
            return
        if scope["path"] == "/memory":
            hog = bytearray(1 << 30)
            for i in range(0, len(hog), 4096):
                hog[i] = 1
        if scope["path"] == "/time":
            time.sleep(1000)
        if scope["path"] == "/raise":
            raise KeyError("not here")
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"fine"})

    return asgi


@app.function(memory=(128, 192))
def hog():
    print("it begins")
    big = bytearray(1 << 30)
    for i in range(0, len(big), 4096):
        big[i] = 1


@app.function()
def crash():
    import os
    import signal

    os.kill(os.getpid(), signal.SIGSEGV)


@app.local_entrypoint()
def main():
    for function in hog, crash:
        try:
            function.remote()
        except Exception as error:
            tell(repr(error))
"""


@pytest.mark.parametrize(
    "version, how, said",
    [
        ("0.64.0", "import", "nosuchmodule"),
        ("1.6.4", "raise", "no start today"),
        ("1.6.4", "exit", "code 5"),
    ],
)
def test_an_app_that_cannot_start_says_why(client, house, version, how, said):
    app = client.name("start")
    (label,) = labels(client.run("deploy", client.write(ENDS, APP=app, HOW=how)))
    answer = house.get(label)
    assert answer.status == 500 and said in answer.text, answer.text
    if how != "exit":
        assert said in client.log(app) or client.old
    client.stop(app)


def test_a_request_that_ends_badly_and_the_next_one_that_is_fine(client, house):
    app = client.name("bad")
    (label,) = labels(client.run("deploy", client.write(ENDS, APP=app, HOW="well")))
    assert house.get(label).text == "fine"
    answer = house.get(label, "/raise")
    assert answer.status == 500
    answer = house.get(label, "/memory")
    assert answer.status == 500 and "memory" in answer.text, answer.text
    assert house.get(label).text == "fine"
    answer = house.get(label, "/time")
    assert answer.status == 504 and "2" in answer.text, answer.text
    assert house.get(label).text == "fine"
    client.stop(app)


def test_a_call_that_takes_too_much_memory_or_crashes_is_told_so(client):
    out = client.run("run", client.write(ENDS, APP=client.name("memory"), HOW="well"))
    hog, crash = client.told()
    assert "it begins" in out
    for said, text in (hog, "more memory than its limit"), (crash, "signal 11 (Segmentation fault)"):
        assert text in said and text in flat(out), "its caller hears of it, and so does who reads the log"
