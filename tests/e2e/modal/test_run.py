"""Functions that are called: from the machine of who deployed them, with everything that a call can be."""

import os
import signal

from conftest import wait_for

from .client import PATIENCE_S

CALLS = """
import pickle
import time

app = modal.App("$APP", image=image)


class OwnError(Exception):
    pass


@app.function()
def square(x, plus=0):
    print("squaring", x)
    if x < 0:
        raise OwnError(f"{x} is negative")
    return x * x + plus


@app.function()
def slow_square(x):
    time.sleep(0.3 if x == 0 else 0)
    return x * x


@app.function(**limits(60, **inputs(5)))
@concurrent(5)
def back(data):
    return data[::-1]


@app.function(retries=2)
def third_time():
    import pathlib

    seen = pathlib.Path("/tmp/seen")
    count = len(seen.read_text()) if seen.exists() else 0
    seen.write_text("x" * (count + 1))
    print(f"attempt {count + 1}")
    if count < 2:
        raise OwnError(f"attempt {count + 1} failed")
    return count + 1


@app.function()
def numbers(upto):
    for i in range(upto):
        yield i


@app.cls()
class Counter:
    start: int = $PARAMETER

    @modal.enter()
    def begin(self):
        print("a counter begins")
        self.count = self.start

    @modal.method()
    def add(self, by):
        self.count += by
        return self.count

    @modal.method()
    def upto(self, n):
        yield from range(self.start, self.start + n)

    @modal.exit()
    def end(self):
        print("a counter ends")


@app.local_entrypoint()
def main(word: str = "nothing", times: int = 1):
    tell("the word is", word * times)
    tell("remote", square.remote(7, plus=1))
    tell("local", square.local(3))
    tell("map", list(slow_square.map(range(6))))
    tell("starmap", list(square.starmap([(2, 1), (3, 2)])))
    tell("unordered", sorted(slow_square.map(range(6), order_outputs=False)))
    seen = list(square.map([1, -1, 2], return_exceptions=True))
    tell("exceptions", [type(s).__name__ for s in seen], seen[1])
    try:
        square.remote(-5)
    except OwnError as error:
        tell("raised", type(error).__name__, error)
    tell("generator", list(numbers.remote_gen(4)))
    counter = Counter() if OLD else Counter(start=40)
    tell("class", counter.add.remote(2), list(counter.upto.remote_gen(3)))
    call = square.spawn(9)
    tell("spawned", call.get(timeout=60))
    try:
        slow_square.spawn(0).get(timeout=0)
    except TimeoutError as error:
        tell("too early", type(error).__name__)
    big = bytes(range(256)) * 20000
    assert back.remote(big) == big[::-1]
    assert all(b == big[::-1] for b in back.map([big] * 4))
    tell("large", len(big))
    tell("third time", third_time.remote())
"""


def test_calls_of_every_kind(client, house):
    parameter = "40" if client.old else "modal.parameter(default=0)"
    client.write(CALLS, APP=client.name("calls"), PARAMETER=parameter)
    out = client.run("run", "app.py", "--word", "yes", "--times", "2")
    for said in ("squaring 7", "a counter begins", "a counter ends", "attempt 1", "attempt 2", "attempt 3"):
        assert said in out, f"{said}\n{out}"
    told = client.told()
    for expected in (
        "the word is yesyes",
        "remote 50",
        "local 9",
        "map [0, 1, 4, 9, 16, 25]",
        "starmap [5, 11]",
        "unordered [0, 1, 4, 9, 16, 25]",
        "raised OwnError -5 is negative",
        "generator [0, 1, 2, 3]",
        "class 42 [40, 41, 42]",
        "spawned 81",
        "too early TimeoutError",
        "large 5120000",
        "third time 3",
    ):
        assert expected in told, f"{expected}\n{told}"
    (exceptions,) = [line for line in told if line.startswith("exceptions")]
    assert "['int', 'OwnError', 'int']" in exceptions.replace("UserCodeException", "OwnError")
    assert "-1 is negative" in exceptions
    assert house.catnap.ps()["apps"] == [a for a in house.catnap.ps()["apps"] if "calls" not in a["app"]]


FAILS = """
app = modal.App("$APP", image=image)


@app.function()
def inner(x):
    return {}[x]


@app.function()
def leave():
    import os

    os._exit(3)


@app.function(timeout=2)
def forever():
    import time

    print("it begins")
    time.sleep(1000)


@app.local_entrypoint()
def main(what: str):
    globals()[what].remote(*(["the key"] if what == "inner" else []))
"""


def test_what_a_function_raised_is_shown_as_python_shows_it(client):
    out = client.run("run", client.write(FAILS, APP=client.name("raises")), "--what", "inner", check=False)
    assert "KeyError" in out and "the key" in out
    assert "return {}[x]" in out, "the line that raised it"


def test_a_container_that_dies_fails_its_call(client):
    out = client.run("run", client.write(FAILS, APP=client.name("dies")), "--what", "leave", check=False)
    assert "code 3" in out


def test_a_call_that_takes_too_long_is_ended(client):
    out = client.run("run", client.write(FAILS, APP=client.name("long")), "--what", "forever", check=False)
    assert "it begins" in out and "imeout" in out


def test_a_module_that_cannot_be_imported_is_told(client):
    program = (
        '\napp = modal.App("$APP", image=image)\nif not modal.is_local():\n    import nosuchmodule\n'
        + FAILS.split("\n", 2)[2]
    )
    out = client.run("run", client.write(program, APP=client.name("broken")), "--what", "inner", check=False)
    assert "nosuchmodule" in out


def test_ctrl_c_ends_it_and_its_containers(client, house):
    app = client.name("interrupted")
    program = FAILS.replace("timeout=2", "timeout=600")
    process = client.start("run", client.write(program, APP=app), "--what", "forever")
    seen = ""
    while "it begins" not in seen:
        line = process.stdout.readline()
        assert line, seen
        seen += line
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=PATIENCE_S)
    wait_for(
        "its app is gone", lambda: not [a for a in house.catnap.ps()["apps"] if a["app"].startswith(app[:20])]
    )
