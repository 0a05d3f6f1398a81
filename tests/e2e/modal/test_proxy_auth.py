"""requires_proxy_auth: who brings no proxy's token gets nothing, and wakes nobody. Tokens are made by either
command line, opened by either spelling, and are no tokens of clients."""

import json

import pytest
from conftest import tiny_yaml

from .client import VERSIONS, labels

APP = """
app = modal.App("$APP", image=image)


@app.function(**limits())
@modal.asgi_app(requires_proxy_auth=True)
def guarded():
    async def asgi(scope, receive, send):
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            text = b"\\n".join(k + b": " + v for k, v in scope["headers"])
            await send({"type": "http.response.body", "body": text})

    return asgi

"""
# What `modal workspace proxy-tokens` does.
SCRIPT = """
import json
tokens = modal.Workspace.from_context().proxy_tokens
other, gone = tokens.create(name="another"), tokens.create()
tokens.update(other.token_id, name="renamed")
tokens.delete(gone.token_id)
pairs = {"other": (other.token_id, other.token_secret), "gone": (gone.token_id, gone.token_secret)}
print(json.dumps({**pairs, "names": {t.token_id: t.name for t in tokens.list()}}))
"""


@pytest.fixture
def version():
    return VERSIONS[-1]  # the old one has none of it


def headers(token, bearer=False):
    if bearer:
        return {"Authorization": f"Bearer {token[0]}.{token[1]}"}
    return {"Modal-Key": token[0], "Modal-Secret": token[1]}


def test_a_guarded_function_asks_for_a_token(client, house):
    cli = house.catnap.cli
    app = client.name("guarded")
    (guarded,) = labels(client.run("deploy", client.write(APP, APP=app)))
    made = json.loads(cli("token", "new", "--proxy", "the shop", "--json").stdout)
    token = (made["id"], made["secret"])
    assert token[0].startswith("wk-") and token[1].startswith("ws-")

    refused = [{}, headers(client.token), headers((token[0], "ws-wrong")), headers(("wk-none", token[1]))]
    refused += [{"Modal-Key": token[0]}, {"Authorization": "Bearer x.y"}]
    for row in refused:
        answer = house.get(guarded, headers=row)
        assert answer.status == 401 and "token new --proxy" in answer.text, row
        assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert house.running(app) == [], "nobody was woken"
    for bearer in (False, True):
        answer = house.get(guarded, headers=headers(token, bearer))
        assert answer.status == 200 and token[1] not in answer.text
    assert house.get(guarded, headers={**headers(token), "Authorization": "Bearer mine"}).status == 200

    made = json.loads(client.script(SCRIPT).splitlines()[-1])
    other = made["other"]
    assert house.get(guarded, headers=headers(other)).status == 200
    assert house.get(guarded, headers=headers(made["gone"])).status == 401
    assert made["names"].items() >= {(token[0], "the shop"), (other[0], "renamed")}
    assert client.token[0] not in made["names"] and made["gone"][0] not in made["names"]
    kinds = {t.split()[0]: t.split()[1] for t in cli("token", "list").stdout.splitlines()[1:]}
    assert kinds[token[0]] == kinds[other[0]] == "proxy" and kinds[client.token[0]] == "client"
    cli("token", "revoke", token[0])
    assert house.get(guarded, headers=headers(token)).status == 401

    proxy = json.loads(cli("token", "new", "--proxy", "no client", "--json").stdout)
    client.token = (proxy["id"], proxy["secret"])
    assert "does not know this token" in client.run("app", "list", check=False)
    client.token = house.token()
    client.stop(app)


def test_a_function_with_a_port_can_be_guarded_too(make_catnap, tiny):
    catnap = make_catnap(["--modal", "off"]).start()
    catnap.up(tiny_yaml(tiny, proxy_auth="true"))
    host = {"Host": "root--tiny-web.localhost"}
    assert catnap.get(catnap.port, headers=host).status == 401
    made = json.loads(catnap.cli("token", "new", "--proxy", "x", "--json").stdout)
    token = headers((made["id"], made["secret"]))
    assert catnap.get(catnap.port, headers={**host, **token}).text == "hello\n"
    catnap.stop()
    catnap.start()
    assert catnap.get(catnap.port, headers=host).status == 401
    assert catnap.get(catnap.port, headers={**host, **token}).text == "hello\n"
