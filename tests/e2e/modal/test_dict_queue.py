"""Dicts and queues: values under names, for programs here and for functions there."""

import json

ALL = """
import queue

d = modal.Dict.from_name("$DICT", create_if_missing=True)
d["a"] = 1
d.put("b", [2])
d.update(c={"deep": (3,)}, **{"d": None})
print(1, d["a"], d.get("b"), d.get("c"), d.get("nothing"), d.get("nothing", 7))
print(2, "a" in d, "zz" in d, d.len(), d.pop("a"), d.len())
try:
    d["zz"]
except KeyError as error:
    print(3, type(error).__name__)
print(4, sorted(d.keys()), sorted(map(str, d.values())), len(list(d.items())))
big = bytes(range(256)) * 4000
d["big"] = big
print(5, d["big"] == big)

q = modal.Queue.from_name("$QUEUE", create_if_missing=True)
q.put(5)
q.put_many([6, 7, 8])
print(6, q.len(), q.get(), q.get_many(2), q.len())
try:
    q.clear()
    q.get(timeout=0.2)
except queue.Empty as error:
    print(7, type(error).__name__)
print(8, q.get(block=False))
q.put("x", partition="p")
print(9, q.len(), q.len(total=True), q.get(partition="p"))
q.put_many(list("abc"))
print(10, list(q.iterate()), q.len())
with modal.Queue.ephemeral() as e, modal.Dict.ephemeral() as f:
    e.put(1)
    f["k"] = "v"
    print(11, e.get(), f["k"])
"""
EXPECTED = """1 1 [2] {'deep': (3,)} None 7
2 True False 4 1 3
3 KeyError
4 ['b', 'c', 'd'] ['None', '[2]', "{'deep': (3,)}"] 3
5 True
6 4 5 [6, 7] 1
7 Empty
8 None
9 0 1 x
10 ['a', 'b', 'c'] 3
11 1 v"""


def test_all_that_they_can(client):
    words = {"DICT": client.name("d"), "QUEUE": client.name("q")}
    assert client.script(ALL, **words).strip() == EXPECTED
    assert words["DICT"] in client.run("dict", "list") and words["QUEUE"] in client.run("queue", "list")
    assert client.run("dict", "get", words["DICT"], "b").strip() == "[2]"
    assert client.run("queue", "len", words["QUEUE"]).split()[-1] == "3"
    client.run("queue", "clear", words["QUEUE"], "--yes")
    assert client.run("queue", "len", words["QUEUE"]).split()[-1] == "0"
    client.run("dict", "delete", words["DICT"], "--yes")
    assert client.run("dict", "get", words["DICT"], "b", check=False)
    client.run("queue", "delete", words["QUEUE"], "--yes")


TALK = """
app = modal.App("$APP", image=image)
asked = modal.Queue.from_name("$QUEUE", create_if_missing=True)
answers = modal.Dict.from_name("$DICT", create_if_missing=True)


@app.function()
def worker():
    while (number := asked.get(timeout=60)) is not None:
        answers[number] = number * number
    return "done"


@app.local_entrypoint()
def main():
    call = worker.spawn()
    asked.put_many([2, 3, None])
    print("worker", call.get(timeout=120))
    print("answers", sorted(answers.items()))
"""


def test_a_function_and_who_called_it_talk_by_them(client):
    names = {"APP": client.name("talk"), "QUEUE": client.name("tq"), "DICT": client.name("td")}
    out = client.run("run", client.write(TALK, **names))
    assert "worker done" in out and "answers [(2, 4), (3, 9)]" in out


KEEP = """
d = modal.Dict.from_name("$DICT", create_if_missing=True)
q = modal.Queue.from_name("$QUEUE", create_if_missing=True)
"""


def test_values_stay_over_a_kill_of_the_daemon(own_client, own_house):
    import signal

    names = {"QUEUE": own_client.name("q"), "DICT": own_client.name("d")}
    own_client.script(KEEP + 'd["a"] = [1]\nq.put_many([1, 2])\nprint(q.get())\n', **names)
    own_house.catnap.stop(signal.SIGKILL)
    own_house.catnap.start()
    assert own_client.script(KEEP + 'print(d["a"], q.get(), q.len())\n', **names).strip() == "[1] 2 0"
