"""Calls outlive the daemon: what was accepted is worked on, once, and its result is there, also where the
daemon was killed before, while and after."""

import signal
import sqlite3
import time

from conftest import BIN, DEADLINE_S, wait_for

from .client import VERSIONS, Client
from .test_one_container import peak_kb

LARGE = 64  # calls, of a megabyte each and its result

# `hold...` is at work until the test lets it go; each run is noted in the volume.
APP = """
import os
import time

app = modal.App("$APP", image=image)
volume = modal.Volume.from_name("$APP", create_if_missing=True)
one = {"concurrency_limit" if OLD else "max_containers": 1}


def note(name):
    with open("/data/ran-$APP", "a") as file:
        print(name, file=file)


@app.function(volumes={"/data": volume}, **limits(), **one)
def work(name):
    note(name)
    while name.startswith("hold") and not os.path.exists(f"/data/go-{name}"):
        time.sleep(0.02)
    return name.upper()


@app.function(volumes={"/data": volume}, **limits(), **one)
def large(data):
    while not os.path.exists("/data/go-large"):
        time.sleep(0.02)
    return data


@app.function(**limits())
def outer(name):
    return work.remote(name)


@app.function(volumes={"/data": volume}, **limits())
def values(count):
    for i in range(count):
        yield bytes([i]) * 1000000
    open("/data/said", "w").close()


@app.function(volumes={"/data": volume}, retries=modal.Retries(max_retries=1, initial_delay=1.0), **limits())
def flaky(name):
    note(name)
    if open("/data/ran-$APP").read().split().count(name) < 2:
        raise ValueError("not yet")
    return name.upper()


@app.cls(volumes={"/data": volume}, **limits(), **one)
class Box:
    $FIELD

    @modal.method()
    def work(self, name):
        note(self.name + name)
        while not os.path.exists(f"/data/go-{name}"):
            time.sleep(0.02)
        return self.name + name
"""
FIELD = {
    "0.64.0": "def __init__(self, name):\n        self.name = name",
    "1.6.4": "name: str = modal.parameter()",
}
PROGRAM = """
def of(name):
    if name == "Box":
        return (modal.Cls.lookup if OLD else modal.Cls.from_name)("$APP", name)(name="a").work
    return (modal.Function.lookup if OLD else modal.Function.from_name)("$APP", name)


"""
SPAWN = PROGRAM + """
for word in "$NAMES".split():
    function, name = word.split(".")
    call = of(function).spawn(name)
    if name.startswith("done"):
        call.get(timeout=120)
    if name.startswith("cancelled"):
        call.cancel()
    print("CALL", name, call.object_id)
"""
GET = """
from modal.functions import FunctionCall

for id in "$IDS".split():
    try:
        print("GOT", FunctionCall.from_id(id).get(timeout=120))
    except Exception as error:
        print("GOT", type(error).__name__)
"""
GRAPH = """
(top,) = modal.FunctionCall.from_id("$ID").get_call_graph()
print("GRAPH", top.function_name, *(f"{call.function_name}:{call.status.name}" for call in top.children))
"""
SPAWN_LARGE = PROGRAM + """
for i in range($COUNT):
    print("CALL", i, of("large").spawn(bytes([i]) * 1000000).object_id)
"""
GET_LARGE = """
for i, id in enumerate("$IDS".split()):
    assert modal.FunctionCall.from_id(id).get(timeout=120) == bytes([i]) * 1000000
print("ALL GOT")
"""
# It reads the first value, and the rest when all are said.
READ_SLOWLY = PROGRAM + """
import os, time

for i, value in enumerate(of("values").remote_gen($COUNT)):
    while i == 0 and not os.path.exists("$SAID"):
        time.sleep(0.02)
    assert value == bytes([i]) * 1000000
print("VALUES", i + 1)
"""
# Of a client that was told of two outputs before the daemon was killed, which could not note them any more.
GO_ON = """
import asyncio
from modal.client import _Client
from modal_proto import api_pb2


async def main():
    stub = (await _Client.from_env()).stub
    asked = {"function_call_id": "$ID", "last_entry_id": "2-0", "timeout": 60, "max_values": 1}
    print("MORE", len((await stub.FunctionGetOutputs(api_pb2.FunctionGetOutputsRequest(**asked))).outputs))


asyncio.run(main())
"""
# It waits for its results while the daemon is killed.
WAIT = PROGRAM + """
print("MAP", ",".join(of("work").map(["hold-map"] + [f"m{i}" for i in range(60)])))
print("REMOTE", of("work").remote("last"))
"""


class Work:
    def __init__(self, version, house, directory):
        self.client = Client(version, house, directory / version)
        self.house, self.app = house, self.client.name("durable") + f"-{version[0]}"
        self.client.run("deploy", self.client.write(APP, APP=self.app, FIELD=FIELD[version]))

    def noted(self):
        """Where the runs are noted: in the live tree of its volume."""
        return next((self.house.catnap.state / "volumes").rglob(f"ran-{self.app}"), None)

    def spawn(self, *names):
        out = self.client.script(SPAWN, APP=self.app, NAMES=" ".join(names))
        return {line.split()[1]: line.split()[2] for line in out.splitlines() if line.startswith("CALL")}

    def get(self, ids):
        out = self.client.script(GET, IDS=" ".join(ids))
        return [line.split()[1] for line in out.splitlines() if line.startswith("GOT")]

    def ran(self):
        return self.noted().read_text().split() if self.noted() else []

    def let_go(self, name):
        (self.noted().parent / f"go-{name}").touch()


SPAWNED = [
    "work.done",
    "outer.done-graph",
    "work.hold",
    "work.queued",
    "work.cancelled",
    "flaky.flaky",
    "Box.b",
]


def test_calls_outlive_the_daemon(own_house, tmp_path):
    catnap = own_house.catnap
    works = [Work(version, own_house, tmp_path) for version in VERSIONS]
    calls = [work.spawn(*SPAWNED) for work in works]
    for work in works:
        wait_for("all are at work", lambda: {"hold", "flaky", "ab"} <= set(work.ran()))
    catnap.stop(signal.SIGKILL)
    catnap.start()
    for work in works:
        work.let_go("hold"), work.let_go("b")
    assert "GRAPH outer work:SUCCESS\n" in works[1].client.script(GRAPH, ID=calls[1]["done-graph"])
    assert "MORE 1" in works[1].client.script(GO_ON, ID=calls[1]["hold"]), "its number is no other's"
    for work, ids in zip(works, calls):
        got = dict(zip(ids, work.get(ids.values())))
        assert got.pop("cancelled") in ("InputCancellation", "RemoteError"), got
        assert got.pop("done-graph") == "DONE-GRAPH"
        assert got == {"done": "DONE", "hold": "HOLD", "queued": "QUEUED", "flaky": "FLAKY", "b": "ab"}
        ran = work.ran()
        assert ran.count("queued") == ran.count("done") == 1 and ran.count("flaky") == 2, ran
        assert "cancelled" not in ran
        if not work.client.old:  # whose containers end when they can't reach catnap for a moment
            assert ran.count("hold") == ran.count("ab") == 1, ran


def age(house, ids, days):
    """Those calls went to rest so many days ago: as the daemon notes it, once nobody asks for them."""
    with sqlite3.connect(house.catnap.state / "catnap.db", timeout=DEADLINE_S) as state:
        for id in ids:
            state.execute("DELETE FROM record WHERE kind = 'modal-call-open' AND key = ?", (id,))
            key = f"{int(time.time() - days * 86400):012x}/{id}"
            state.execute("INSERT INTO record VALUES ('modal-call-done', ?, x'')", (key,))
    state.close()


def records(house, id):
    with sqlite3.connect(house.catnap.state / "catnap.db", timeout=DEADLINE_S) as state:
        count = state.execute("SELECT count(*) FROM record WHERE instr(key, ?)", (id,)).fetchone()[0]
    state.close()
    return count


def grown_kb(catnap, before):
    return 0 if "asan" in BIN.name else peak_kb(catnap) - before  # it keeps what was freed


def test_a_client_that_waits_and_results_that_rest(own_house, tmp_path):
    work, catnap = Work("1.6.4", own_house, tmp_path), own_house.catnap
    large = work.client.script(SPAWN_LARGE, APP=work.app, COUNT=LARGE).split()[2::3]
    old, young = work.spawn("work.done-old", "work.done-young").values()
    waiting = work.client.start(
        work.client.write(WAIT, "wait.py", APP=work.app), python=True, env={"PYTHONUNBUFFERED": "1"}
    )
    try:
        wait_for("it is at work", lambda: "hold-map" in work.ran())
        catnap.stop(signal.SIGKILL)
        # More than go in one sweep.
        age(own_house, [*(f"fc-many{i}" for i in range(20500)), old], 7.1), age(own_house, [young], 6.9)
        catnap.start()
        before = peak_kb(catnap)
        catnap.cli("image", "prune")
        work.let_go("hold-map"), work.let_go("large")
        out, _ = waiting.communicate(timeout=DEADLINE_S)
    finally:
        waiting.kill()
    assert "MAP HOLD-MAP," + ",".join(f"M{i}" for i in range(60)) + "\n" in out, out
    assert "REMOTE LAST" in out
    assert len(work.ran()) == len(set(work.ran())) == 64, "each once"
    for gone in (old, "fc-many"):
        wait_for("the old results are gone", lambda: records(own_house, gone) == 0)
    assert work.get([old, young]) == ["NotFoundError", "DONE-YOUNG"]
    assert "ALL GOT" in work.client.script(GET_LARGE, IDS=" ".join(large))
    assert grown_kb(catnap, before) < LARGE << 10, "what waits, and what came of it, is not all in memory"
    said = work.noted().parent / "said"
    out = work.client.script(READ_SLOWLY, APP=work.app, COUNT=LARGE, SAID=said)
    assert f"VALUES {LARGE}" in out
    assert grown_kb(catnap, before) < 3 * LARGE << 9, "nor what a generator said"
