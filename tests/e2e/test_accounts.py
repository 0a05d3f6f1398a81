"""Accounts of `tabby serve`, as scripts and editors use them: the first visitor, tokens, rights."""

import base64
import concurrent.futures
import http.client
import json
import os
import pathlib
import socket
import subprocess

import pytest
from accounts import PASSWORD, SECRET, Accounts, bearer, jwt
from conftest import BIN, DEADLINE_S
from tabby import Tabby


@pytest.fixture
def server():
    with Accounts() as made:
        yield made


# ---- a fresh server ----


def test_the_first_visitor_becomes_the_owner(server):
    info = (
        "{ serverInfo { isAdminInitialized isChatEnabled isEmailConfigured allowSelfSignup"
        " disablePasswordLogin } }"
    )
    assert server.data(info)["serverInfo"] == {
        "isAdminInitialized": False,
        "isChatEnabled": False,
        "isEmailConfigured": False,
        "allowSelfSignup": False,
        "disablePasswordLogin": False,
    }
    assert server.status() == 401, "nobody is let in before there is anybody"
    token = server.register()["accessToken"]
    assert server.data(info)["serverInfo"]["isAdminInitialized"]
    me = server.me(token)
    assert (me["id"], me["email"], me["name"]) == ("E16n1q", "owner@example.org", "Ada")
    assert me["isAdmin"] and me["isOwner"] and me["active"] and me["isPasswordSet"] and not me["isSsoUser"]
    assert me["authToken"].startswith("auth_") and len(me["authToken"]) == 37
    assert server.get("/v1/health", headers=bearer(me["authToken"])).json()["webserver"] is True


def test_of_two_first_visitors_at_once_one_is_the_owner(server):
    def register(i):
        query = (
            'mutation($e: String!) { register(email: $e, password1: "Passw0rd!", password2: "Passw0rd!",'
            ' name: "n") { accessToken } }'
        )
        return server.ask(query, e=f"u{i}@example.org")

    with concurrent.futures.ThreadPoolExecutor(6) as many:
        answers = list(many.map(register, range(6)))
    assert sum("errors" not in a for a in answers) == 1
    assert {a["errors"][0]["message"] for a in answers if "errors" in a} == {"Invitation code is not valid"}
    assert server.database().execute("SELECT count(*) FROM users").fetchone() == (1,)


@pytest.mark.parametrize(
    "path, method",
    [
        ("/v1/health", "GET"),
        ("/v1/health", "POST"),
        ("/v1/completions", "POST"),
        ("/v1/chat/completions", "POST"),
        ("/v1beta/chat/completions", "POST"),
        ("/v1/events", "POST"),
        ("/v1beta/models", "GET"),
        ("/v1beta/server_setting", "GET"),
    ],
)
def test_each_route_of_the_api_asks_for_a_token(server, path, method):
    server.register()
    for headers in [
        {},
        {"Authorization": "auth_0"},
        bearer(""),
        bearer("auth_" + "0" * 32),
        bearer("x.y.z"),
        bearer("' OR 1=1 --"),
        bearer('" OR ""="'),
        bearer("%00"),
        bearer("a" * 8000),
    ]:
        answer = server.request(
            server.port,
            path,
            method,
            b"{}" if method == "POST" else None,
            {"Content-Type": "application/json", **headers},
        )
        assert (answer.status, answer.body) == (401, b""), headers
        assert "WWW-Authenticate" not in answer.headers, "no browser is to ask for a name"
        assert answer.headers["Access-Control-Allow-Origin"] == "*"


def test_what_needs_no_token_is_open(server):
    assert server.get("/metrics").status == 200
    assert server.get("/api-docs/openapi.json").status == 200
    preflight = server.request(server.port, "/v1/completions", "OPTIONS", None, {"Origin": "http://x.org"})
    assert preflight.status == 200, "a browser's preflight carries no token"


def test_without_accounts_everything_is_open_and_they_are_not_there():
    with Tabby() as server:
        assert server.get("/v1/health").json()["webserver"] is False
        assert server.get("/v1beta/server_setting").json() == {"disable_client_side_telemetry": False}
        view = {"type": "view", "completion_id": "c", "choice_index": 0}
        assert server.post("/v1/events", view, {"x-tabby-user": "me@here"}).status == 200
        (file,) = (server.root / "events").iterdir()
        assert json.loads(file.read_text())["user"] == "me@here"
        assert not (server.root / "ee").exists()
        connection = http.client.HTTPConnection("127.0.0.1", server.port)
        for path in ["/", "/graphql", "/nowhere", "/chat"]:
            connection.request("GET", path)
            answer = connection.getresponse()
            answer.read()
            assert (answer.status, answer.getheader("Location")) == (307, "/swagger-ui"), path


# ---- tokens ----


def test_access_tokens_outlive_a_restart_when_their_secret_does(tmp_path):
    with Accounts(root=tmp_path, extra_env={"TABBY_WEBSERVER_JWT_TOKEN_SECRET": SECRET}) as server:
        token = server.register()["accessToken"]
        head, claims = (json.loads(base64.urlsafe_b64decode(p + "==")) for p in token.split(".")[:2])
        assert head["alg"] == "HS256" and set(claims) == {"exp", "iat", "sub"}
        assert claims["sub"] == "E16n1q" and claims["exp"] - claims["iat"] == 1800
    with Accounts(root=tmp_path, extra_env={"TABBY_WEBSERVER_JWT_TOKEN_SECRET": SECRET}) as server:
        assert server.status(token=token) == 200
        assert server.status(token=jwt({"exp": 2**40, "iat": 1, "sub": "E16n1q"})) == 200
        assert server.status(token=jwt({"exp": 1, "iat": 1, "sub": "E16n1q"})) == 401, "expired"
        assert server.status(token=jwt({"exp": 2**40, "sub": "R1AWw5"})) == 401, "nobody"
        assert server.status(token=jwt({"exp": 2**40, "sub": "E16n1q"}, secret="x")) == 401
        assert server.status(token=jwt({"exp": 2**40, "sub": "E16n1q"}, header={"alg": "none"})) == 401
    with Accounts(root=tmp_path) as server:
        assert server.status(token=token) == 401, "a secret of one process dies with it"


def test_a_secret_that_is_no_uuid_is_refused(tmp_path):
    done = subprocess.run(
        [BIN / "tabby", "serve", "--port", "0"],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        env={**os.environ, "TABBY_ROOT": str(tmp_path), "TABBY_WEBSERVER_JWT_TOKEN_SECRET": "secret"},
    )
    assert done.returncode != 0 and "standard uuid format" in done.stderr


def test_a_token_that_was_replaced_is_dead(server):
    token = server.register()["accessToken"]
    old = server.me(token)["authToken"]
    assert server.status(token=old) == 200 and server.status(token=old, scheme="Token") == 200
    assert server.data("mutation { resetUserAuthToken }", old)[
        "resetUserAuthToken"
    ], "an auth token may replace itself"
    assert server.status(token=old) == 401
    assert server.status(token=server.me(token)["authToken"]) == 200


def test_a_deactivated_user_is_out_at_once(server):
    owner = server.register()["accessToken"]
    second = server.register("b@example.org", server.invite(owner, "b@example.org"))
    me = server.me(second["accessToken"])
    assert not me["isAdmin"] and not me["isOwner"]
    tokens = [second["accessToken"], me["authToken"]]
    assert [server.status(token=t) for t in tokens] == [200, 200]
    query = "mutation($id: ID!, $a: Boolean!) { updateUserActive(id: $id, active: $a) }"
    assert (
        server.error(query, second["accessToken"], id="E16n1q", a=False)["message"]
        == "You must be admin to proceed"
    )
    server.data(query, owner, id=me["id"], a=False)
    assert [server.status(token=t) for t in tokens] == [401, 401]
    assert server.error("{ me { id } }", tokens[0])["extensions"] == {"code": "UNAUTHORIZED"}
    refresh = "mutation($t: String!) { refreshToken(refreshToken: $t) { accessToken } }"
    assert "errors" in server.ask(refresh, t=second["refreshToken"])
    sign_in = "mutation($e: String!, $p: String!) { tokenAuth(email: $e, password: $p) { accessToken } }"
    assert server.error(sign_in, e="b@example.org", p=PASSWORD)["message"] == "User is disabled"


def test_an_auth_token_may_do_what_the_chat_panel_needs_and_no_more(server):
    token = server.me(server.register()["accessToken"])["authToken"]
    for query in [
        "{ me { email } }",
        "{ repositoryList { name } }",
        "{ contextInfo { sources { id } } }",
        "{ threads { edges { node { id } } } }",
        "{ myThreads { edges { node { id } } } }",
        "{ serverInfo { isChatEnabled } }",
        "{ authProviders { kind } }",
    ]:
        server.data(query, token)
    for query in [
        "{ users { edges { node { email } } } }",
        "{ invitations { edges { node { code } } } }",
        "{ registrationToken }",
        "{ dailyStatsInPastYear { views } }",
        'mutation { createInvitation(email: "x@y.z") }',
    ]:
        error = server.error(query, token)
        assert error["message"] == "Invoking this API with an auth token is not allowed"
        assert error["extensions"] == {"code": "FORBIDDEN"}


def test_refresh_tokens_turn(server):
    first = server.register()
    query = (
        "mutation($t: String!) { refreshToken(refreshToken: $t) { accessToken refreshToken"
        " refreshExpiresAt } }"
    )
    second = server.data(query, t=first["refreshToken"])["refreshToken"]
    assert server.status(token=second["accessToken"]) == 200
    again = server.data(query, t=first["refreshToken"])["refreshToken"]
    assert again["refreshToken"] == second["refreshToken"], "whoever lost the answer asks once more"
    third = server.data(query, t=second["refreshToken"])["refreshToken"]
    assert server.error(query, t=first["refreshToken"])["message"] == "Invalid refresh token"
    assert server.data("mutation { logoutAllSessions }", third["accessToken"])["logoutAllSessions"]
    for token in second, third:
        assert server.error(query, t=token["refreshToken"])["message"] == "Invalid refresh token"


def test_too_many_requests_of_one_user_wait_a_minute():
    with Accounts(extra_env={"COPYCAT_REQUESTS_PER_MINUTE": "5"}) as server:
        owner = server.register()["accessToken"]
        other = server.register("b@example.org", server.invite(owner, "b@example.org"))["accessToken"]
        statuses = [server.status("/v1beta/server_setting", owner) for _ in range(7)]
        assert statuses == [200] * 5 + [429] * 2
        assert server.status(token=owner) == 200, "health is never counted"
        assert server.status("/v1beta/server_setting", other) == 200, "each user has their own count"


def test_guessing_passwords_is_slowed_down(server):
    server.register()
    query = 'mutation($p: String!) { tokenAuth(email: "owner@example.org", password: $p) { accessToken } }'
    said = [server.error(query, p=f"Wr0ng-{i:03}!")["message"] for i in range(11)]
    assert said[:10] == ["Invalid email address or password"] * 10
    assert "Too many failed attempts" in said[10]
    assert "Too many failed attempts" in server.error(query, p=PASSWORD)["message"]


# ---- people and rights ----


def test_what_is_wrong_with_an_input_is_said_by_field(server):
    error = server.error(
        'mutation { register(email: "nobody", password1: "short", password2: "other", name: "x") {'
        " accessToken } }"
    )
    assert error["message"] == "Invalid input parameters"
    complaints = error["extensions"]["validation-errors"]["errors"]
    assert [c["path"] for c in complaints] == ["email", "password1", "password1", "password2"]
    assert complaints[0]["message"] == "Email is invalid"


def test_names_with_tricks_are_only_names(server):
    tricks = [
        "Robert'); DROP TABLE users; --",
        "../../etc/passwd",
        "<img src=x onerror=alert(1)>",
        "%s%n",
        "\u202eevil",
        "x" * 500,
    ]
    owner = server.register(name=tricks[0])["accessToken"]
    assert server.me(owner)["name"] == tricks[0]
    for i, trick in enumerate(tricks[1:]):
        email = f"u{i}@example.org"
        assert (
            server.me(server.register(email, server.invite(owner, email), trick)["accessToken"])["name"]
            == trick
        )
    assert server.database().execute("SELECT count(*) FROM users").fetchone() == (len(tricks),)
    for id in ["1", "E16n1q' OR '1'='1", "../E16n1q", "0", "-1", "E16n1q\n"]:
        assert (
            server.error("mutation($id: ID!) { updateUserActive(id: $id, active: false) }", owner, id=id)[
                "message"
            ]
            == "Invalid ID"
        )
        assert (
            server.data("query($id: ID!) { users(ids: [$id]) { edges { node { email } } } }", owner, id=id)[
                "users"
            ]["edges"]
            == []
        )
    error = server.error(
        "mutation($e: String!) { createInvitation(email: $e) }", owner, e="x'); DELETE FROM users; --@a.b"
    )
    assert error["message"] == "Invalid input parameters"


def test_roles(server):
    owner = server.register()["accessToken"]
    second = server.register("b@example.org", server.invite(owner, "b@example.org"))["accessToken"]
    forbidden = [
        "{ invitations { edges { node { code } } } }",
        "{ registrationToken }",
        "{ networkSetting { externalUrl } }",
        "{ securitySetting { disablePasswordLogin } }",
        "{ gitRepositories { edges { node { id } } } }",
        "{ diskUsageStats { database { sizeKb } } }",
        "{ dailyStatsInPastYear { views } }",
        'mutation { createGitRepository(name: "n", gitUrl: "https://a.b/c") }',
        "mutation { resetRegistrationToken }",
        'mutation { generateResetPasswordUrl(userId: "E16n1q") }',
        'mutation { updateUserRole(id: "R1AWw5", isAdmin: true) }',
        (
            '{ userEvents(start: "2020-01-01T00:00:00Z", end: "2100-01-01T00:00:00Z") { edges { node {'
            " payload } } } }"
        ),
    ]
    for query in forbidden:
        error = server.error(query, second)
        assert error["extensions"] == {"code": "FORBIDDEN"}, query
        assert server.error(query)["extensions"] == {"code": "UNAUTHORIZED"}, query
    server.data("{ users { edges { node { email } } } }", second)
    nodes = server.data("{ users { edges { node { email ... on UserSecured { authToken } } } } }", second)[
        "users"
    ]["edges"]
    assert {n["node"]["authToken"] for n in nodes} == {""}, "a list of people is none of keys"
    role = 'mutation($a: Boolean!) { updateUserRole(id: "R1AWw5", isAdmin: $a) }'
    server.data(role, owner, a=True)
    server.data(forbidden[0], second)
    assert server.error('mutation { updateUserRole(id: "E16n1q", isAdmin: false) }', second)[
        "message"
    ].startswith("The owner's")
    assert server.error(role, second, a=False)["message"] == "You cannot update your own role"
    server.data(role, owner, a=False)
    assert server.error(forbidden[0], second)["extensions"] == {"code": "FORBIDDEN"}


def test_a_forgotten_password(server):
    owner = server.register()["accessToken"]
    server.register("b@example.org", server.invite(owner, "b@example.org"))
    server.data('mutation { updateNetworkSetting(input: {externalUrl: "https://tabby.example.org"}) }', owner)
    url = server.data('mutation { generateResetPasswordUrl(userId: "R1AWw5") }', owner)[
        "generateResetPasswordUrl"
    ]
    assert url.startswith("https://tabby.example.org/auth/reset-password?code=")
    query = (
        "mutation($c: String!, $p: String!) { passwordReset(input: {code: $c, password1: $p, password2:"
        " $p}) }"
    )
    code = url.split("=")[1]
    assert server.error(query, c="0" * 36, p="N3w-word!")["message"] == "Invalid code"
    assert server.data(query, c=code, p="N3w-word!")["passwordReset"]
    assert server.error(query, c=code, p="An0ther-one!")["message"] == "Invalid code"
    token = server.sign_in("b@example.org", "N3w-word!")["accessToken"]
    change = (
        'mutation($o: String!) { passwordChange(input: {oldPassword: $o, newPassword1: "Th1rd-one!",'
        ' newPassword2: "Th1rd-one!"}) }'
    )
    assert server.error(change, token, o="wrong")["message"] == "Password is incorrect"
    assert server.data(change, token, o="N3w-word!")["passwordChange"]


def test_pictures(server):
    owner = server.register()["accessToken"]
    set_picture = "mutation($i: ID!, $b: String) { uploadUserAvatarBase64(id: $i, avatarBase64: $b) }"
    assert server.get("/avatar/E16n1q").status == 404
    server.data(set_picture, owner, i="E16n1q", b=base64.b64encode(b"<svg onload='alert(1)'>").decode())
    answer = server.get("/avatar/E16n1q")
    assert (answer.status, answer.body) == (200, b"<svg onload='alert(1)'>")
    assert (
        answer.headers["Content-Type"] == "image/*" and "sandbox" in answer.headers["Content-Security-Policy"]
    )
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert (
        server.error(set_picture, owner, i="R1AWw5", b="")["message"]
        == "You cannot change another user's avatar"
    )
    assert "base64" in server.error(set_picture, owner, i="E16n1q", b="???")["message"]
    assert "too large" in server.error(set_picture, owner, i="E16n1q", b="A" * 800_000)["message"]
    for path in ["/avatar/", "/avatar/../ee/db.sqlite", "/avatar/%2e%2e", "/avatar/1"]:
        assert server.get(path).status == 404, path
    server.data(set_picture, owner, i="E16n1q", b=None)
    assert server.get("/avatar/E16n1q").status == 404


def test_repositories_by_name(server):
    owner = server.register()["accessToken"]
    add = (
        "mutation($n: String!, $u: String!, $r: [String!]) { createGitRepository(name: $n, gitUrl: $u, refs:"
        " $r) }"
    )
    id = server.data(add, owner, n="catnap", u="https://example.org/catnap.git", r=["main"])[
        "createGitRepository"
    ]
    assert server.error(add, owner, n="catnap", u="https://example.org/2")["message"].startswith(
        "A repository with the same name"
    )
    for name, url in [
        ("c", "https://a.b"),
        ("../x", "https://a.b"),
        ("good", "no url"),
        ("good", "https://a b"),
    ]:
        assert server.error(add, owner, n=name, u=url)["message"] == "Invalid input parameters"
    node = server.data(
        "{ gitRepositories { edges { node { id sourceId name gitUrl refs { name } } } } }", owner
    )
    assert node["gitRepositories"]["edges"] == [
        {
            "node": {
                "id": id,
                "sourceId": f"git:{id}",
                "name": "catnap",
                "gitUrl": "https://example.org/catnap.git",
                "refs": [{"name": "main"}],
            }
        }
    ]
    second = server.register("b@example.org", server.invite(owner, "b@example.org"))["accessToken"]
    sources = (
        "{ contextInfo { sources { sourceId sourceKind sourceName ... on Repository { gitUrl } } }"
        " repositoryList { kind } }"
    )
    assert server.data(sources, second)["contextInfo"]["sources"] == [
        {
            "sourceId": f"git:{id}",
            "sourceKind": "GIT",
            "sourceName": "https://example.org/catnap.git",
            "gitUrl": "https://example.org/catnap.git",
        }
    ]
    with server.database() as database:  # as Tabby's groups would have it
        database.execute("INSERT INTO user_groups (name) VALUES ('g')")
        database.execute(
            "INSERT INTO source_id_read_access_policies (source_id, user_group_id) VALUES (?, 1)",
            (f"git:{id}",),
        )
    assert (
        server.data(sources, second)["repositoryList"] == []
    ), "who is in no group of its policy may not read it"
    assert len(server.data(sources, owner)["repositoryList"]) == 1
    with server.database() as database:
        database.execute("INSERT INTO user_group_memberships (user_id, user_group_id) VALUES (2, 1)")
    assert len(server.data(sources, second)["repositoryList"]) == 1
    assert server.data("mutation($i: ID!) { deleteGitRepository(id: $i) }", owner, i=id)[
        "deleteGitRepository"
    ]
