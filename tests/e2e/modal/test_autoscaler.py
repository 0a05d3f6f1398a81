"""How many containers a function has, set while it is deployed: at once, kept over a killed daemon, forgotten
by the next deploy; a buffer while there is work."""

import signal

from conftest import wait_for

SCALED = """
app = modal.App("$APP", image=image)


@app.function(**limits(idle=2))
def f(queue):
    return queue.get(timeout=120)


@app.function(gpu=None if OLD else "H100!:16")
def costly():
    pass


@app.cls(**limits(idle=2), enable_memory_snapshot=True)
class Model:
    @modal.method()
    def f(self):
        pass
"""
FOUND = """
import time
find = modal.Function.lookup if OLD else modal.Function.from_name
f = find("$APP", "f")
Model = (modal.Cls.lookup if OLD else modal.Cls.from_name)("$APP", "Model")


def at_least(function, **numbers):
    return function.keep_warm(numbers["min_containers"]) if OLD else function.update_autoscaler(**numbers)


"""
BUFFERED = """
options = {"concurrency_limit": 3} if OLD else {"max_containers": 3, "buffer_containers": 1}
if not OLD:
    f.update_autoscaler(**options, min_containers=0)
    tell("settings", f.autoscaler.settings())
    with modal.Queue.ephemeral() as queue:
        call = f.spawn(queue)
        while f.get_current_stats().num_total_runners < 2:
            time.sleep(0.05)
        queue.put("buffered")
        tell(call.get())
    other = f.with_options(max_containers=2, buffer_containers=1, scaledown_window=3)
    tell("variant", other.autoscaler.settings())
    for wrong in {"min_containers": 4}, {"max_containers": 2000}:
        try:
            f.update_autoscaler(**wrong)
        except modal.exception.InvalidError as error:
            tell("refused", error)
    try:
        f.with_options(volumes={"/b": modal.CloudBucketMount("b")}).autoscaler.settings()
    except Exception as error:
        tell("refused", error)
"""


def test_its_numbers_are_set_while_it_is_deployed(own_client, own_house):
    app, client, catnap = own_client.name("scaled"), own_client, own_house.catnap
    out = client.run("deploy", client.write(SCALED, APP=app))
    assert client.old or "enable_memory_snapshot is not taken" in " ".join(out.split()), "nothing pretends"
    lacks = "costly asks for a GPU (H100!:16), which this machine has not, so that it can't start"
    assert client.old or lacks in " ".join(out.split())
    assert catnap.log.read_text().count(lacks) == (0 if client.old else 1)
    assert own_house.running(app) == []
    client.script(FOUND + "at_least(f, min_containers=2)\nat_least(Model(), min_containers=1)", APP=app)
    wait_for("all three are there, without a call", lambda: len(own_house.running(app)) == 3)

    catnap.stop(signal.SIGKILL)
    catnap.start()
    wait_for("they are kept", lambda: len(own_house.running(app)) == 3)
    client.script(FOUND + "at_least(f, min_containers=1)\n" + BUFFERED, APP=app)
    if not client.old:
        settings, done, variant, *refused = client.told()
        assert "min_containers=0, max_containers=3, scaledown_window=2, buffer_containers=1" in settings
        assert done == "buffered"
        assert "min_containers=0, max_containers=2, scaledown_window=3, buffer_containers=1" in variant
        assert "min_containers (4) is more than max_containers (3)" in refused[0]
        assert "at most 1000 containers" in refused[1] and "a Volume keeps files" in refused[2]

    client.run("deploy", "app.py")
    wait_for("the deploy has the word again", lambda: own_house.running(app) == [])
