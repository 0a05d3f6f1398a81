"""An app that is deployed: it answers by its name, is deployed again under load without a request lost, told
about, rolled back, published, stopped; and who has no good token does none of it."""

import json
import signal
import threading

import pytest
from conftest import free_port, wait_for

from .client import ASGI, Client, labels

WEB = ASGI + """
app = modal.App("$APP", image=image)


@app.function(**limits(60, **inputs(10)))
@concurrent(10)
@modal.asgi_app()
def web():
    async def asgi(scope, receive, send):
        if scope["type"] == "http":
            await answer(receive, send, "$WORD " + scope["path"] + " ")

    return asgi


@app.function()
def square(x):
    print("squaring", x)
    return x * x
"""


def deploy(client, app, word="one", **more):
    return client.run("deploy", client.write(WEB, APP=app, WORD=word), **more)


def test_the_first_request_wakes_it_and_a_stop_ends_it(client, house):
    app = client.name("web")
    (label,) = labels(deploy(client, app))
    assert house.running(app) == [], "a deploy starts nothing"
    assert house.get(label, "/path").text == "one /path "
    assert house.get(label, "/", method="POST", body=b"x" * 100000).text == "one / " + "x" * 100000
    assert [c["state"] for c in house.running(app)] == ["awake"]
    client.stop(app)
    assert house.get(label).status == 404
    wait_for("its containers are gone", lambda: not house.running(app))


def test_no_request_is_lost_while_it_is_deployed_again(client, house):
    app = client.name("again")
    (label,) = labels(deploy(client, app))
    assert house.get(label).text == "one / "
    ended, seen = threading.Event(), []

    def ask():
        while not ended.is_set():
            seen.append(house.get(label))

    askers = [threading.Thread(target=ask) for _ in range(3)]
    for asker in askers:
        asker.start()
    try:
        deploy(client, app, "two")
        wait_for("the new version answers", lambda: seen[-1].text == "two / ")
    finally:
        ended.set()
        for asker in askers:
            asker.join()
    assert {a.status for a in seen} == {200}
    words = [a.text for a in seen]
    assert set(words) == {"one / ", "two / "}
    # What was asked of the old version may end a moment later than the first answer of the new one.
    assert "one / " not in words[words.index("two / ") + 3 :]
    client.stop(app)


def test_what_there_is_is_told(client, house):
    app = client.name("told")
    deploy(client, app)
    deploy(client, app, "two")
    found = "lookup" if client.old else "from_name"
    asked = f"""
square = modal.Function.{found}('{app}', 'square')
result = square.remote(12)
try:
    square.remote("a")
except TypeError:
    print(result)
"""
    assert client.script(asked).split()[-1] == "144"
    assert client.states(app) == ["deployed"]
    log = wait_for("its log", lambda: client.log(app))
    assert "squaring 12" in log
    if not client.old:
        history = json.loads(client.run("app", "history", app, "--json"))
        assert [r["version"] for r in history] == ["v2", "v1"]
        stats = json.loads(client.run("app", "stats", app, "--json"))
        assert stats["deployment_count"] == 2 and stats["lifecycle"]["version"] == 2
        counts = stats["functions"]["by_name"]["square"]["counts"]
        assert counts["calls"] == {"total": 2, "succeeded": 1, "failed": 1}
        assert counts["containers"] == {"errors": 0, "total": 1}
    client.stop(app)
    assert set(client.states(app)) == {"stopped"}


def test_a_container_is_listed_and_stopped_and_its_log_is_its_own(client, house):
    app = client.name("boxes")
    (label,) = labels(deploy(client, app))
    found = "lookup" if client.old else "from_name"
    client.script(f"print(modal.Function.{found}('{app}', 'square').remote(12))")
    assert house.get(label).status == 200
    rows = [r for r in json.loads(client.run("container", "list", "--json")) if app in r.values()]
    ids = [v for row in rows for v in row.values() if str(v).startswith("ta-")]
    assert len(ids) == 2
    if not client.old:
        logs = [client.run("container", "logs", i) for i in ids]
        assert sorted("squaring 12" in log for log in logs) == [False, True]
    for i in ids:
        client.run("container", "stop", i, *([] if client.old else ["--yes"]))
    wait_for("they are gone", lambda: not house.running(app))
    assert house.get(label).status == 200, "it wakes again"
    client.stop(app)


SAY = """
import time

app = modal.App("$APP", image=image)


@app.function(max_containers=1, timeout=77)
def say(x):
    print("saying", x)
    time.sleep(0.3)
"""
SAID = """
function = modal.Function.from_name("$APP", "say").hydrate()
same = modal.Function.from_id(function.object_id)
calls = [same.spawn(x) for x in ("five", "seven")]
for call in calls:
    call.get(timeout=60)
other = function.with_options(timeout=99).hydrate()
print("IDS", other.object_id, same.info().timeout, *(call.object_id for call in calls))
"""


def test_a_function_by_its_id_and_the_log_of_one_call(house, tmp_path):
    client = Client("1.6.4", house, tmp_path)
    app = client.name("say")
    client.run("deploy", client.write(SAY, APP=app))
    other, timeout, one, two = client.script(SAID, APP=app).split("IDS ")[1].split()
    assert timeout == "77"
    assert "99 seconds" in client.run("function", "info", other)
    (variant,) = json.loads(client.run("function", "variants", f"{app}/say", "--json"))
    assert variant["function_id"] == other and "99" in json.dumps(variant["options"])
    out = client.run("app", "logs", app, "--function-call", two)
    assert "saying seven" in out and "saying five" not in out
    out = client.run("function", "logs", f"{app}/say", "--function-call", one, "--show-function-call-id")
    assert "saying five" in out and "saying seven" not in out and one in out
    assert "fc-none" in client.run("app", "logs", app, "--function-call", "fc-none", check=False)
    client.stop(app)


STAGE_MANY = """
import asyncio
from modal.client import _Client
from modal_proto import api_pb2


async def main():
    stub = (await _Client.from_env()).stub
    found = await stub.AppGetByDeploymentName(api_pb2.AppGetByDeploymentNameRequest(name="$APP"))
    layout = await stub.AppGetLayout(api_pb2.AppGetLayoutRequest(app_id=found.app_id))
    for _ in range(22):
        await stub.AppPublish(
            api_pb2.AppPublishRequest(
                app_id=found.app_id,
                name="$APP",
                app_state=api_pb2.APP_STATE_DEPLOYED,
                function_ids=layout.app_layout.function_ids,
                staged=True,
            )
        )
    history = await stub.AppDeploymentHistory(api_pb2.AppDeploymentHistoryRequest(app_id=found.app_id))
    versions = [one.version for one in history.app_deployment_histories]
    print("HISTORY", history.production_app_version, versions[0], len(versions))


asyncio.run(main())
"""


def staged(client, app, word, serves):
    program = client.write(WEB, APP=app, WORD=word)
    out = client.run("deploy", "--staged", program, env={"PYTHONWARNINGS": "default"})
    assert serves in " ".join(out.replace("│", " ").split())
    return labels(out)


def test_versions_are_staged_promoted_rolled_back_and_rolled_over(own_client, own_house):
    client, app = own_client, own_client.name("staged")
    if client.old:
        pytest.skip("modal 0.64.0 has no rollback and stages nothing")
    (label,) = staged(client, app, "one", f"v1 is staged: nothing serves until `modal app promote {app} v1`")
    assert own_house.get(label).status == 404
    client.run("app", "promote", app, "v1")
    assert own_house.get(label).text == "one / "
    staged(client, app, "two", "v3 is staged: v2 goes on serving")
    assert own_house.get(label).text == "one / "
    assert "was not staged" in client.run("app", "promote", app, "2", check=False)
    assert "never served" in client.run("app", "rollback", app, "v3", check=False)
    client.run("app", "promote", app, "v3")
    wait_for("the promoted version answers", lambda: own_house.get(label).text == "two / ")
    client.run("app", "rollback", app)
    wait_for("what served before answers", lambda: own_house.get(label).text == "one / ")

    before = {c["id"] for c in own_house.running(app)}
    assert "Rollover completed" in client.run("app", "rollover", app, "--strategy", "recreate")
    assert before and not before & {c["id"] for c in own_house.running(app)}
    history = json.loads(client.run("app", "history", app, "--json"))
    assert [r["version"] for r in history] == ["v6", "v5", "v4", "v3", "v2", "v1"]
    assert "HISTORY 6 6 20" in client.script(STAGE_MANY, APP=app), "what serves is not pushed out"
    own_house.catnap.stop(signal.SIGKILL)
    own_house.catnap.start()
    assert own_house.get(label).text == "one / "


def test_a_port_of_its_own_stays_over_a_deploy_and_a_restart(own_client, own_house):
    app, port = own_client.name("port"), free_port()
    catnap = own_house.catnap
    deploy(own_client, app)
    assert "no function" in catnap.cli("publish", f"{app}.nothing", str(port), check=False).stderr
    assert "no web function" in catnap.cli("publish", f"{app}.square", str(port), check=False).stderr
    catnap.cli("publish", f"{app}.web", str(port))
    assert catnap.get(port).text == "one / "
    assert f":{port}" in catnap.cli("ps").stdout
    deploy(own_client, app, "two")
    wait_for("the new version answers there", lambda: catnap.get(port).text == "two / ")
    catnap.stop()
    catnap.start()
    assert catnap.get(port).text == "two / "
    other = free_port()
    taken = catnap.cli("publish", f"{app}.web", str(catnap.port), check=False)
    assert (
        catnap.cli("publish", f"{app}.web", str(other)).stdout.strip().startswith(f"{app}.web is at http://")
    )
    assert catnap.get(other).text == "two / "
    assert taken.returncode == 0 or "port" in taken.stderr
    catnap.cli("unpublish", f"{app}.web")
    assert "at no port" in catnap.cli("unpublish", f"{app}.web", check=False).stderr


def test_a_port_that_another_has_is_refused(own_house, tmp_path, tiny):
    from conftest import tiny_yaml

    client, port = Client("1.6.4", own_house, tmp_path), free_port()
    catnap = own_house.catnap
    catnap.up(tiny_yaml(tiny, publish=port))
    app = client.name("taken")
    deploy(client, app)
    refused = catnap.cli("publish", f"{app}.web", str(port), check=False)
    assert refused.returncode == 1 and "tiny.web" in refused.stderr
    refused = catnap.cli("publish", f"{app}.web", str(own_house.modal_port), check=False)
    assert refused.returncode == 1 and "taken by another" in refused.stderr
    refused = catnap.cli("publish", "tiny.web", str(free_port()), check=False)
    assert refused.returncode == 1 and "catnap.yaml" in refused.stderr


@pytest.mark.parametrize("what", ["wrong", "revoked"])
def test_without_a_good_token_nothing_is_deployed(client, house, what):
    app = client.name("barred")
    if what == "revoked":
        house.catnap.cli("token", "revoke", client.token[0])
    else:
        client.token = (client.token[0], "as-wrong")
    out = deploy(client, app, check=False)
    assert "catnap login" in " ".join(out.replace("│", " ").split())
    assert app not in [a["app"] for a in house.catnap.ps()["apps"]]


OTHER_VERSION = """
import modal_version

modal_version.__version__ = "$VERSION"
import modal

app = modal.App("$APP")
try:
    print("deployed", modal.Dict.from_name("$APP", create_if_missing=True).len())
except Exception as error:
    print(type(error).__name__, error)
"""


def test_a_client_that_is_too_old_or_too_new_is_told_which_work(client, house):
    for version, what in (("0.50.1", "too old"), ("2.0.0", "too new")):
        (client.cwd / "other.py").write_text(
            OTHER_VERSION.replace("$VERSION", version).replace("$APP", client.name("other"))
        )
        said = client.run("other.py", python=True)
        assert f"the modal client {version} is {what}" in said and "0.64.0" in said and "1.6.4" in said
    if client.old:
        return
    (client.cwd / "modal_cli.py").write_text(
        "import modal_version\nmodal_version.__version__ = '1.9.0'\n"
        "from modal.__main__ import main\nmain()\n"
    )
    app = client.name("newer")
    program = client.write('app = modal.App("$APP", image=image)\n', APP=app)
    loud = {"PYTHONWARNINGS": "default"}
    said = client.run("modal_cli.py", "deploy", program, python=True, env=loud)
    assert "up to 1.6.4, and 1.9.0 is newer" in " ".join(said.split()), said


def test_who_brings_no_token_is_told_how_to_get_one(client, house):
    """Both clients refuse to start without one; who asks by himself is refused by catnap."""
    said = client.script(
        """
import asyncio
from grpclib import GRPCError
from grpclib.client import Channel
from modal_proto import api_grpc, api_pb2


async def main():
    channel = Channel("127.0.0.1", $PORT)
    try:
        await api_grpc.ModalClientStub(channel).AppList(api_pb2.AppListRequest())
    except GRPCError as error:
        print(error.status, error.message)
    channel.close()


asyncio.run(main())
""",
        PORT=house.modal_port,
    )
    assert "UNAUTHENTICATED" in said and "catnap login" in said
