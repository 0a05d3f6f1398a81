"""A container that is asked to end by itself: what comes meanwhile goes elsewhere. An app that is stopped:
what waits for its retry ends too."""

from conftest import DEADLINE_S, wait_for

from .client import Client

APP = """
import os
import time

app = modal.App("$APP", image=image)
volume = modal.Volume.from_name("$APP", create_if_missing=True)


@app.cls(volumes={"/data": volume}, **limits())
class Box:
    @modal.method()
    def work(self, again):
        if again:
            modal.experimental.stop_fetching_inputs()
        return os.environ["MODAL_TASK_ID"]

    @modal.exit()
    def bye(self):
        open(f"/data/leaves-$APP-{os.environ['MODAL_TASK_ID']}", "w").close()
        while not os.path.exists("/data/go"):
            time.sleep(0.02)


@app.function(volumes={"/data": volume}, retries=modal.Retries(max_retries=1, initial_delay=60.0))
def again():
    open("/data/failed-$APP", "w").close()
    raise ValueError("not yet")
"""
AGAIN = """
try:
    modal.Function.from_name("$APP", "again").remote()
except Exception as error:
    print("ENDED", error)
"""
WORK = """
print("TASK", modal.Cls.from_name("$APP", "Box")().work.remote($AGAIN))
"""


def test_a_container_that_leaves_takes_no_more_work(house, tmp_path):
    client = Client("1.6.4", house, tmp_path)
    app = client.name("leaves")
    client.run("deploy", client.write(APP, APP=app))

    def work(again):
        out = client.script(WORK, APP=app, AGAIN=again)
        return next(line.split()[1] for line in out.splitlines() if line.startswith("TASK"))

    def leaves(task):
        return next((house.catnap.state / "volumes").rglob(f"leaves-{app}-{task}"), None)

    first = work(False)
    client.run("container", "stop", "--graceful", "--yes", first)
    wait_for("its exit hook runs", lambda: leaves(first))
    second = work(True)
    wait_for("the other leaves by its own word", lambda: leaves(second))
    third = work(False)
    assert len({first, second, third}) == 3
    (leaves(first).parent / "go").touch()
    wait_for("they are gone", lambda: len(house.running(app)) == 1)
    waiting = client.start(client.write(AGAIN, "again.py", APP=app), python=True)
    wait_for("it failed once", lambda: next(leaves(first).parent.glob(f"failed-{app}"), None))
    client.stop(app)
    out, _ = waiting.communicate(timeout=DEADLINE_S)
    assert "ENDED the app was stopped" in out
