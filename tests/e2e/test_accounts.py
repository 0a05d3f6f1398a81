"""Accounts of `tabby serve`, as scripts and editors use them: over HTTP and GraphQL, with real databases, some of them made
by sqlite3 as Tabby leaves them."""

import base64
import concurrent.futures
import hashlib
import hmac
import http.client
import json
import os
import pathlib
import signal
import socket
import sqlite3
import subprocess
import threading

import pytest
from conftest import BIN, DEADLINE_S
from tabby import SMALL, Tabby

PASSWORD = "Passw0rd!"
SECRET = "0e7bb0ad-6d1c-4f6f-9f3a-2f1f0f9b8c11"
SCHEMA = pathlib.Path(__file__).resolve().parents[2] / "src/account/schema.sql"


class Accounts(Tabby):
    def __init__(self, *arguments, **more):
        more["extra_env"] = {"COPYCAT_REQUESTS_PER_MINUTE": "0", **(more.get("extra_env") or {})}
        super().__init__(*arguments, accounts=True, **more)

    def ask(self, query, token=None, status=200, **variables):
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        answer = self.post("/graphql", {"query": query, "variables": variables}, headers)
        assert answer.status == status, answer.text
        return answer.json()

    def data(self, query, token=None, **variables):
        answer = self.ask(query, token, **variables)
        assert "errors" not in answer, answer
        return answer["data"]

    def error(self, query, token=None, **variables):
        (error,) = self.ask(query, token, **variables)["errors"]
        return error

    def register(self, email="owner@example.org", code=None, name="Ada"):
        query = """mutation R($email: String!, $code: String, $name: String!, $p: String!) {
            register(email: $email, password1: $p, password2: $p, invitationCode: $code, name: $name)
            { accessToken refreshToken } }"""
        return self.data(query, email=email, code=code, name=name, p=PASSWORD)["register"]

    def sign_in(self, email="owner@example.org", password=PASSWORD):
        query = "mutation($e: String!, $p: String!) { tokenAuth(email: $e, password: $p) { accessToken refreshToken } }"
        return self.data(query, e=email, p=password)["tokenAuth"]

    def me(self, token):
        return self.data("{ me { id email name isAdmin isOwner active authToken isPasswordSet isSsoUser createdAt } }",
                         token)["me"]

    def invite(self, owner, email):
        self.data("mutation($e: String!) { createInvitation(email: $e) }", owner, e=email)
        edges = self.data("{ invitations { edges { node { email code } } } }", owner)["invitations"]["edges"]
        return next(e["node"]["code"] for e in edges if e["node"]["email"] == email)

    def status(self, path="/v1/health", token=None, scheme="Bearer"):
        return self.get(path, headers={"Authorization": f"{scheme} {token}"} if token else {}).status

    def database(self):
        return sqlite3.connect(self.root / "ee/db.sqlite", timeout=30)

    def events(self):
        lines = [line for file in sorted((self.root / "events").glob("*.json")) for line in file.open()]
        return [json.loads(line) for line in lines]


@pytest.fixture
def server():
    with Accounts() as made:
        yield made


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


# ---- a fresh server ----


def test_the_first_visitor_becomes_the_owner(server):
    info = "{ serverInfo { isAdminInitialized isChatEnabled isEmailConfigured allowSelfSignup disablePasswordLogin } }"
    assert server.data(info)["serverInfo"] == {"isAdminInitialized": False, "isChatEnabled": False, "isEmailConfigured": False,
                                               "allowSelfSignup": False, "disablePasswordLogin": False}
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
        query = 'mutation($e: String!) { register(email: $e, password1: "Passw0rd!", password2: "Passw0rd!", name: "n")' \
                " { accessToken } }"
        return server.ask(query, e=f"u{i}@example.org")

    with concurrent.futures.ThreadPoolExecutor(6) as many:
        answers = list(many.map(register, range(6)))
    assert sum("errors" not in a for a in answers) == 1
    assert {a["errors"][0]["message"] for a in answers if "errors" in a} == {"Invitation code is not valid"}
    assert server.database().execute("SELECT count(*) FROM users").fetchone() == (1,)


@pytest.mark.parametrize("path, method", [
    ("/v1/health", "GET"), ("/v1/health", "POST"), ("/v1/completions", "POST"), ("/v1/chat/completions", "POST"),
    ("/v1beta/chat/completions", "POST"), ("/v1/events", "POST"), ("/v1beta/models", "GET"), ("/v1beta/server_setting", "GET")])
def test_each_route_of_the_api_asks_for_a_token(server, path, method):
    server.register()
    for headers in [{}, {"Authorization": "auth_0"}, bearer(""), bearer("auth_" + "0" * 32), bearer("x.y.z"),
                    bearer("' OR 1=1 --"), bearer('" OR ""="'), bearer("%00"), bearer("a" * 8000)]:
        answer = server.request(server.port, path, method, b"{}" if method == "POST" else None,
                                {"Content-Type": "application/json", **headers})
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


def jwt(claims, secret=SECRET, header=None):
    def part(value):
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=")

    text = part(header or {"alg": "HS256"}) + b"." + part(claims)
    return (text + b"." + base64.urlsafe_b64encode(hmac.new(secret.encode(), text, "sha256").digest()).rstrip(b"=")).decode()


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
    done = subprocess.run([BIN / "tabby", "serve", "--port", "0"], capture_output=True, text=True, timeout=DEADLINE_S,
                          env={**os.environ, "TABBY_ROOT": str(tmp_path), "TABBY_WEBSERVER_JWT_TOKEN_SECRET": "secret"})
    assert done.returncode != 0 and "standard uuid format" in done.stderr


def test_a_token_that_was_replaced_is_dead(server):
    token = server.register()["accessToken"]
    old = server.me(token)["authToken"]
    assert server.status(token=old) == 200 and server.status(token=old, scheme="Token") == 200
    assert server.data("mutation { resetUserAuthToken }", old)["resetUserAuthToken"], "an auth token may replace itself"
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
    assert server.error(query, second["accessToken"], id="E16n1q", a=False)["message"] == "You must be admin to proceed"
    server.data(query, owner, id=me["id"], a=False)
    assert [server.status(token=t) for t in tokens] == [401, 401]
    assert server.error("{ me { id } }", tokens[0])["extensions"] == {"code": "UNAUTHORIZED"}
    refresh = "mutation($t: String!) { refreshToken(refreshToken: $t) { accessToken } }"
    assert "errors" in server.ask(refresh, t=second["refreshToken"])
    sign_in = "mutation($e: String!, $p: String!) { tokenAuth(email: $e, password: $p) { accessToken } }"
    assert server.error(sign_in, e="b@example.org", p=PASSWORD)["message"] == "User is disabled"


def test_an_auth_token_may_do_what_the_chat_panel_needs_and_no_more(server):
    token = server.me(server.register()["accessToken"])["authToken"]
    for query in ["{ me { email } }", "{ repositoryList { name } }", "{ contextInfo { sources { id } } }",
                  "{ threads { edges { node { id } } } }", "{ myThreads { edges { node { id } } } }",
                  "{ serverInfo { isChatEnabled } }", "{ authProviders { kind } }"]:
        server.data(query, token)
    for query in ["{ users { edges { node { email } } } }", "{ invitations { edges { node { code } } } }",
                  "{ registrationToken }", "{ dailyStatsInPastYear { views } }", 'mutation { createInvitation(email: "x@y.z") }']:
        error = server.error(query, token)
        assert error["message"] == "Invoking this API with an auth token is not allowed"
        assert error["extensions"] == {"code": "FORBIDDEN"}


def test_refresh_tokens_turn(server):
    first = server.register()
    query = "mutation($t: String!) { refreshToken(refreshToken: $t) { accessToken refreshToken refreshExpiresAt } }"
    second = server.data(query, t=first["refreshToken"])["refreshToken"]
    assert server.status(token=second["accessToken"]) == 200
    assert server.error(query, t=first["refreshToken"])["message"] == "Invalid refresh token"
    assert server.data("mutation { logoutAllSessions }", second["accessToken"])["logoutAllSessions"]
    assert server.error(query, t=second["refreshToken"])["message"] == "Invalid refresh token"


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
    query = "mutation($p: String!) { tokenAuth(email: \"owner@example.org\", password: $p) { accessToken } }"
    said = [server.error(query, p=f"Wr0ng-{i:03}!")["message"] for i in range(11)]
    assert said[:10] == ["Invalid email address or password"] * 10
    assert "Too many failed attempts" in said[10]
    assert "Too many failed attempts" in server.error(query, p=PASSWORD)["message"]


# ---- people and rights ----


def test_what_is_wrong_with_an_input_is_said_by_field(server):
    error = server.error('mutation { register(email: "nobody", password1: "short", password2: "other", name: "x") { accessToken } }')
    assert error["message"] == "Invalid input parameters"
    complaints = error["extensions"]["validation-errors"]["errors"]
    assert [c["path"] for c in complaints] == ["email", "password1", "password1", "password2"]
    assert complaints[0]["message"] == "Email is invalid"


def test_names_with_tricks_are_only_names(server):
    tricks = ["Robert'); DROP TABLE users; --", "../../etc/passwd", "<img src=x onerror=alert(1)>", "%s%n", "\u202eevil", "x" * 500]
    owner = server.register(name=tricks[0])["accessToken"]
    assert server.me(owner)["name"] == tricks[0]
    for i, trick in enumerate(tricks[1:]):
        email = f"u{i}@example.org"
        assert server.me(server.register(email, server.invite(owner, email), trick)["accessToken"])["name"] == trick
    assert server.database().execute("SELECT count(*) FROM users").fetchone() == (len(tricks),)
    for id in ["1", "E16n1q' OR '1'='1", "../E16n1q", "0", "-1", "E16n1q\n"]:
        assert server.error("mutation($id: ID!) { updateUserActive(id: $id, active: false) }", owner, id=id)["message"] == "Invalid ID"
        assert server.data("query($id: ID!) { users(ids: [$id]) { edges { node { email } } } }", owner, id=id)["users"]["edges"] == []
    error = server.error("mutation($e: String!) { createInvitation(email: $e) }", owner, e="x'); DELETE FROM users; --@a.b")
    assert error["message"] == "Invalid input parameters"


def test_roles(server):
    owner = server.register()["accessToken"]
    second = server.register("b@example.org", server.invite(owner, "b@example.org"))["accessToken"]
    forbidden = ["{ invitations { edges { node { code } } } }", "{ registrationToken }", "{ networkSetting { externalUrl } }",
                 "{ securitySetting { disablePasswordLogin } }", "{ gitRepositories { edges { node { id } } } }",
                 "{ diskUsageStats { database { sizeKb } } }", "{ dailyStatsInPastYear { views } }",
                 'mutation { createGitRepository(name: "n", gitUrl: "https://a.b/c") }', "mutation { resetRegistrationToken }",
                 'mutation { generateResetPasswordUrl(userId: "E16n1q") }', 'mutation { updateUserRole(id: "R1AWw5", isAdmin: true) }',
                 '{ userEvents(start: "2020-01-01T00:00:00Z", end: "2100-01-01T00:00:00Z") { edges { node { payload } } } }']
    for query in forbidden:
        error = server.error(query, second)
        assert error["extensions"] == {"code": "FORBIDDEN"}, query
        assert server.error(query)["extensions"] == {"code": "UNAUTHORIZED"}, query
    server.data("{ users { edges { node { email } } } }", second)
    nodes = server.data("{ users { edges { node { email ... on UserSecured { authToken } } } } }", second)["users"]["edges"]
    assert {n["node"]["authToken"] for n in nodes} == {""}, "a list of people is none of keys"
    role = 'mutation($a: Boolean!) { updateUserRole(id: "R1AWw5", isAdmin: $a) }'
    server.data(role, owner, a=True)
    server.data(forbidden[0], second)
    assert server.error('mutation { updateUserRole(id: "E16n1q", isAdmin: false) }', second)["message"].startswith("The owner's")
    assert server.error(role, second, a=False)["message"] == "You cannot update your own role"
    server.data(role, owner, a=False)
    assert server.error(forbidden[0], second)["extensions"] == {"code": "FORBIDDEN"}


def test_a_forgotten_password(server):
    owner = server.register()["accessToken"]
    server.register("b@example.org", server.invite(owner, "b@example.org"))
    server.data("mutation { updateNetworkSetting(input: {externalUrl: \"https://tabby.example.org\"}) }", owner)
    url = server.data('mutation { generateResetPasswordUrl(userId: "R1AWw5") }', owner)["generateResetPasswordUrl"]
    assert url.startswith("https://tabby.example.org/auth/reset-password?code=")
    query = "mutation($c: String!, $p: String!) { passwordReset(input: {code: $c, password1: $p, password2: $p}) }"
    code = url.split("=")[1]
    assert server.error(query, c="0" * 36, p="N3w-word!")["message"] == "Invalid code"
    assert server.data(query, c=code, p="N3w-word!")["passwordReset"]
    assert server.error(query, c=code, p="An0ther-one!")["message"] == "Invalid code"
    token = server.sign_in("b@example.org", "N3w-word!")["accessToken"]
    change = "mutation($o: String!) { passwordChange(input: {oldPassword: $o, newPassword1: \"Th1rd-one!\", newPassword2: \"Th1rd-one!\"}) }"
    assert server.error(change, token, o="wrong")["message"] == "Password is incorrect"
    assert server.data(change, token, o="N3w-word!")["passwordChange"]


def test_pictures(server):
    owner = server.register()["accessToken"]
    set_picture = "mutation($i: ID!, $b: String) { uploadUserAvatarBase64(id: $i, avatarBase64: $b) }"
    assert server.get("/avatar/E16n1q").status == 404
    server.data(set_picture, owner, i="E16n1q", b=base64.b64encode(b"<svg onload='alert(1)'>").decode())
    answer = server.get("/avatar/E16n1q")
    assert (answer.status, answer.body) == (200, b"<svg onload='alert(1)'>")
    assert answer.headers["Content-Type"] == "image/*" and "sandbox" in answer.headers["Content-Security-Policy"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert server.error(set_picture, owner, i="R1AWw5", b="")["message"] == "You cannot change another user's avatar"
    assert "base64" in server.error(set_picture, owner, i="E16n1q", b="???")["message"]
    assert "too large" in server.error(set_picture, owner, i="E16n1q", b="A" * 800_000)["message"]
    for path in ["/avatar/", "/avatar/../ee/db.sqlite", "/avatar/%2e%2e", "/avatar/1"]:
        assert server.get(path).status == 404, path
    server.data(set_picture, owner, i="E16n1q", b=None)
    assert server.get("/avatar/E16n1q").status == 404


def test_repositories_by_name(server):
    owner = server.register()["accessToken"]
    add = "mutation($n: String!, $u: String!, $r: [String!]) { createGitRepository(name: $n, gitUrl: $u, refs: $r) }"
    id = server.data(add, owner, n="catnap", u="https://example.org/catnap.git", r=["main"])["createGitRepository"]
    assert server.error(add, owner, n="catnap", u="https://example.org/2")["message"].startswith("A repository with the same name")
    for name, url in [("c", "https://a.b"), ("../x", "https://a.b"), ("good", "no url"), ("good", "https://a b")]:
        assert server.error(add, owner, n=name, u=url)["message"] == "Invalid input parameters"
    node = server.data("{ gitRepositories { edges { node { id sourceId name gitUrl refs { name } } } } }", owner)
    assert node["gitRepositories"]["edges"] == [{"node": {"id": id, "sourceId": f"git:{id}", "name": "catnap",
                                                 "gitUrl": "https://example.org/catnap.git", "refs": [{"name": "main"}]}}]
    second = server.register("b@example.org", server.invite(owner, "b@example.org"))["accessToken"]
    sources = "{ contextInfo { sources { sourceId sourceKind sourceName ... on Repository { gitUrl } } } repositoryList { kind } }"
    assert server.data(sources, second)["contextInfo"]["sources"] == [
        {"sourceId": f"git:{id}", "sourceKind": "GIT", "sourceName": "https://example.org/catnap.git",
         "gitUrl": "https://example.org/catnap.git"}]
    with server.database() as database:  # as Tabby's groups would have it
        database.execute("INSERT INTO user_groups (name) VALUES ('g')")
        database.execute("INSERT INTO source_id_read_access_policies (source_id, user_group_id) VALUES (?, 1)", (f"git:{id}",))
    assert server.data(sources, second)["repositoryList"] == [], "who is in no group of its policy may not read it"
    assert len(server.data(sources, owner)["repositoryList"]) == 1
    with server.database() as database:
        database.execute("INSERT INTO user_group_memberships (user_id, user_group_id) VALUES (2, 1)")
    assert len(server.data(sources, second)["repositoryList"]) == 1
    assert server.data("mutation($i: ID!) { deleteGitRepository(id: $i) }", owner, i=id)["deleteGitRepository"]


# ---- a database of Tabby's ----


@pytest.fixture
def old_root(tmp_path):
    """TABBY_ROOT as Tabby left it: tables, the migrations noted, an owner, a second user, one that was put out, sessions and
    counts. Written by SQL, not by copycat."""
    (tmp_path / "ee").mkdir()
    with sqlite3.connect(tmp_path / "ee/db.sqlite") as database:
        database.executescript(SCHEMA.read_text())
        for version in [*range(1, 32), *range(33, 51)]:
            database.execute("INSERT INTO _sqlx_migrations VALUES (?, 'x', '2025-01-01 00:00:00', 1, x'00', 1)", (version,))
        users = [("Owner@Example.org", 1, 1, "auth_" + "a" * 32, OLD_HASH, "Ada"), ("b@example.org", 0, 1, "auth_" + "b" * 32, None, None),
                 ("c@example.org", 0, 0, "auth_" + "c" * 32, OLD_HASH, "Carl")]
        for user in users:
            database.execute("INSERT INTO users (email, is_admin, active, auth_token, password_encrypted, name) VALUES (?,?,?,?,?,?)", user)
        database.execute("INSERT INTO refresh_tokens (user_id, token, expires_at) VALUES (1, 'Good', datetime('now', '+1 day'))")
        database.execute("INSERT INTO refresh_tokens (user_id, token, expires_at) VALUES (1, 'Gone', datetime('now', '-1 day'))")
        database.execute("INSERT INTO registration_token (id, token) VALUES (1, 'registered')")
        database.execute("INSERT INTO user_completions (user_id, completion_id, language, views, selects)"
                         " VALUES (2, 'cmpl-1', 'python', 3, 1)")
        database.execute("INSERT INTO server_setting (id, network_external_url, security_disable_client_side_telemetry)"
                         " VALUES (1, 'https://tabby.example.org', 1)")
    database.close()
    return tmp_path


# Of "Passw0rd!", by argon2-cffi 23.1 (argon2id, 19456 KiB, 2 passes, 1 lane): another implementation than the one under test.
OLD_HASH = "$argon2id$v=19$m=19456,t=2,p=1$Iqa/WUhnKTE+CJb4mDrEuQ$ZsatWqVtUlJnt0Zqh1rfZOGCHj/L4twnMSxKVd07vts"


def test_an_existing_database_goes_on_working(old_root):
    with Accounts(root=old_root) as server:
        assert [server.status(token="auth_" + c * 32) for c in "abc"] == [200, 200, 401]
        token = server.sign_in()["accessToken"]
        assert server.me(token)["email"] == "Owner@Example.org"
        assert server.data("{ registrationToken }", token)["registrationToken"] == "registered"
        assert server.data("{ networkSetting { externalUrl } }", token)["networkSetting"]["externalUrl"] == "https://tabby.example.org"
        assert server.get("/v1beta/server_setting", headers=bearer(token)).json() == {"disable_client_side_telemetry": True}
        refresh = "mutation($t: String!) { refreshToken(refreshToken: $t) { accessToken } }"
        assert server.error(refresh, t="Gone")["message"] == "Expired refresh token"
        assert server.status(token=server.data(refresh, t="Good")["refreshToken"]["accessToken"]) == 200
        (stats,) = server.data("{ dailyStatsInPastYear { language completions views selects } }", token)["dailyStatsInPastYear"]
        assert stats == {"language": "PYTHON", "completions": 1, "views": 3, "selects": 1}
        second = server.data("{ me { name isSsoUser isPasswordSet } }", "auth_" + "b" * 32)["me"]
        assert second == {"name": "", "isSsoUser": True, "isPasswordSet": False}
        code = server.invite(token, "d@example.org")
        server.register("d@example.org", code)
    with sqlite3.connect(old_root / "ee/db.sqlite") as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert database.execute("SELECT max(version), count(*) FROM _sqlx_migrations").fetchone() == (50, 49)


def test_tables_made_by_hand_without_migrations_are_taken(old_root):
    with sqlite3.connect(old_root / "ee/db.sqlite") as database:
        database.executescript("DROP TABLE _sqlx_migrations; DROP TABLE pages; DROP TABLE page_sections;")
    with Accounts(root=old_root) as server:
        assert server.status(token="auth_" + "a" * 32) == 200
        assert server.database().execute("SELECT count(*) FROM pages").fetchone() == (0,)


def state_of(directory):
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in directory.iterdir()}


def refused(root):
    done = subprocess.run([BIN / "tabby", "serve", "--host", "127.0.0.1", "--port", "0"], capture_output=True, text=True,
                          timeout=DEADLINE_S, env={**os.environ, "TABBY_ROOT": str(root)}, stdin=subprocess.DEVNULL)
    assert done.returncode == 101 and "Listening" not in done.stdout
    return done.stderr


def test_a_database_of_a_newer_tabby_is_not_touched(old_root):
    with sqlite3.connect(old_root / "ee/db.sqlite") as database:
        database.execute("INSERT INTO _sqlx_migrations VALUES (57, 'later', '2030-01-01 00:00:00', 1, x'00', 1)")
    database.close()
    before = state_of(old_root / "ee")
    said = refused(old_root)
    assert "a newer Tabby wrote it (migration 57" in said and str(old_root / "ee/db.sqlite") in said
    assert "Nothing in it was changed" in said
    assert state_of(old_root / "ee") == before


def test_a_newer_database_that_was_left_in_the_middle_is_not_touched_either(old_root):
    """Its newest migration is in the write-ahead log only: the process that wrote it was killed."""
    script = ("import sqlite3, os, sys; d = sqlite3.connect(sys.argv[1]); d.execute('PRAGMA journal_mode = WAL');"
              "d.execute('PRAGMA wal_autocheckpoint = 0');"
              "d.execute(\"INSERT INTO _sqlx_migrations VALUES (57, 'later', '', 1, x'00', 1)\"); d.commit();"
              "os.kill(os.getpid(), 9)")
    subprocess.run(["/usr/bin/python3", "-c", script, old_root / "ee/db.sqlite"])
    before = state_of(old_root / "ee")
    assert before.keys() >= {"db.sqlite-wal"}
    assert "migration 57" in refused(old_root)
    after = state_of(old_root / "ee")
    assert {k: after[k] for k in ("db.sqlite", "db.sqlite-wal")} == {k: before[k] for k in ("db.sqlite", "db.sqlite-wal")}


@pytest.mark.parametrize("damage", ["text", "cut", "zeros", "other"])
def test_a_damaged_database_is_refused_with_its_name(old_root, damage):
    path = old_root / "ee/db.sqlite"
    whole = path.read_bytes()
    if damage == "text":
        path.write_text("a letter to a friend\n" * 100)
    elif damage == "cut":
        path.write_bytes(whole[:5000])
    elif damage == "zeros":
        path.write_bytes(whole[:4096] + bytes(len(whole) - 4096))
    else:
        path.unlink()
        with sqlite3.connect(path) as database:
            database.execute("CREATE TABLE shopping (item TEXT)")
        database.close()
    before = path.read_bytes()
    said = refused(old_root)
    assert str(path) in said
    assert path.read_bytes() == before


def test_one_of_the_owners_passwords_may_be_overridden(old_root):
    with Accounts(root=old_root, extra_env={"TABBY_OWNER_IMPERSONATE_OVERRIDE": "help@example.org:L3t-me-in!"}) as server:
        assert server.me(server.sign_in("help@example.org", "L3t-me-in!")["accessToken"])["isOwner"]
        assert "errors" in server.ask('mutation { tokenAuth(email: "help@example.org", password: "L3t-me-out!") { accessToken } }')


# ---- what was done ----


def test_events_are_logged_and_counted(server):
    owner = server.register()["accessToken"]
    auth = bearer(server.me(owner)["authToken"])
    view = {"type": "view", "completion_id": "cmpl-1", "choice_index": 0, "view_id": "v"}
    assert server.post("/v1/events", view, auth).status == 200
    assert server.post("/v1/events?select_kind=line", {**view, "type": "select", "elapsed": 12, "select_kind": "x"}, auth).status == 200
    answer = server.post("/v1/events?select_kind=word", {**view, "type": "select"}, auth)
    assert (answer.status, answer.body) == (200, b"")
    assert server.post("/v1/events", {**view, "type": "dismiss", "elapsed": 3, "unknown": [1]}, auth).status == 200
    base = {"completion_id": "cmpl-1", "choice_index": 0}
    assert [e["event"] for e in server.events()] == [
        {"view": {**base, "view_id": "v"}}, {"select": {**base, "kind": "line", "view_id": "v", "elapsed": 12}},
        {"select": {**base, "view_id": "v"}}, {"dismiss": {**base, "view_id": "v", "elapsed": 3}}]
    assert {e["user"] for e in server.events()} == {"E16n1q"}
    line = next((server.root / "events").iterdir()).read_text().split("\n")[1]
    assert line.startswith('{"user":"E16n1q","ts":') and line.endswith(
        '"event":{"select":{"completion_id":"cmpl-1","choice_index":0,"kind":"line","view_id":"v","elapsed":12}}}')
    edges = server.data('{ userEvents(start: "2020-01-01T00:00:00Z", end: "2100-01-01T00:00:00Z", first: 2)'
                        " { edges { node { kind userId payload } } pageInfo { hasNextPage } } }", owner)["userEvents"]
    assert [e["node"]["kind"] for e in edges["edges"]] == ["VIEW", "SELECT"] and edges["pageInfo"]["hasNextPage"]
    assert json.loads(edges["edges"][0]["node"]["payload"]) == {"view": {**base, "view_id": "v"}}


@pytest.mark.parametrize("body, status", [
    (b"", 400), (b"{", 400), (b"[]", 422), (b'"x"', 400), (b'{"type":"view"}', 422), (b'{"type":"view","completion_id":"c"}', 422),
    (b'{"completion_id":"c","choice_index":0}', 422), (b'{"type":"view","completion_id":1,"choice_index":0}', 422),
    (b'{"type":"view","completion_id":"c","choice_index":-1}', 422), (b'{"type":"view","completion_id":"c","choice_index":4294967296}', 422),
    (b'{"type":"view","completion_id":"c","choice_index":0,"view_id":1}', 422), (b'{"type":"poke","completion_id":"c","choice_index":0}', 400),
    ("long", 413)])
def test_what_is_no_event_is_refused(server, body, status):
    auth = bearer(server.me(server.register()["accessToken"])["authToken"])
    if body == "long":
        body = b'{"type":"view","completion_id":"c","choice_index":0,"x":"' + b"y" * (2 << 20) + b'"}'
    assert server.post("/v1/events", body, auth).status == status
    assert server.request(server.port, "/v1/events", "POST", b"{}", {**auth, "Content-Type": "text/plain"}).status == 415
    assert server.events() == [] if (server.root / "events").exists() else True


def test_a_completion_is_an_event_with_all_that_led_to_it():
    with Accounts("--model", SMALL) as server:
        owner = server.register()["accessToken"]
        body = {"language": "python", "segments": {"prefix": "def fib(n):\n    ", "suffix": "\n", "filepath": "a.py",
                                                   "git_url": "https://example.org/x.git",
                                                   "declarations": [{"filepath": "b.py", "body": "x = 1"}]}}
        answer = server.post("/v1/completions", body, {**bearer(owner), "User-Agent": "my-editor/1"}).json()
        view = {"type": "view", "completion_id": answer["id"], "choice_index": 0}
        assert server.post("/v1/events", view, bearer(owner)).status == 200
        assert server.post("/v1/events", {**view, "type": "select"}, bearer(owner)).status == 200
        event = server.events()[0]["event"]["completion"]
        assert list(event) == ["completion_id", "language", "prompt", "segments", "choices", "user_agent"]
        assert event["completion_id"] == answer["id"] and event["language"] == "python" and event["user_agent"] == "my-editor/1"
        assert event["segments"] == body["segments"] and event["choices"] == answer["choices"]
        assert "def fib(n):" in event["prompt"] and "Path: b.py" in event["prompt"]
        start_end = '(start: "2020-01-01T00:00:00Z", end: "2100-01-01T00:00:00Z", languages: [PYTHON])'
        (day,) = server.data("{ dailyStats%s { language languageName completions views selects } }" % start_end, owner)["dailyStats"]
        assert day == {"language": "PYTHON", "languageName": "python", "completions": 1, "views": 1, "selects": 1}
        second = server.register("b@example.org", server.invite(owner, "b@example.org"))["accessToken"]
        assert server.data('{ dailyStatsInPastYear(users: ["R1AWw5"]) { views } }', second)["dailyStatsInPastYear"] == []
        assert server.error('{ dailyStatsInPastYear(users: ["E16n1q"]) { views } }', second)["extensions"] == {"code": "FORBIDDEN"}
        other = {**view, "type": "select"}
        assert server.post("/v1/events", other, bearer(second)).status == 200
        assert server.data("{ dailyStatsInPastYear { selects } }", owner)["dailyStatsInPastYear"] == [{"selects": 1}], \
            "nobody counts for somebody else's completion"


def test_killed_while_writing_nothing_that_was_acknowledged_is_lost(tmp_path):
    """Several rounds: users, invitations and events are written by many at once until the server is killed."""
    acknowledged, lock = {"events": [], "invitations": []}, threading.Lock()
    with Accounts(root=tmp_path) as server:
        owner = server.register()["accessToken"]
    for round in range(4):
        server = Accounts(root=tmp_path).start()
        token = server.sign_in()["accessToken"]
        enough, stop = threading.Event(), threading.Event()

        def write(worker):
            i = 0
            while not stop.is_set():
                name = f"r{round}-{worker}-{i}"
                i += 1
                try:
                    if worker % 2:
                        event = {"type": "view", "completion_id": name, "choice_index": 0}
                        kind, good = "events", server.post("/v1/events", event, bearer(token)).status == 200
                    else:
                        answer = server.post("/graphql", {"query": 'mutation { createInvitation(email: "%s@example.org") }' % name},
                                             bearer(token))
                        kind, good = "invitations", answer.status == 200 and "errors" not in answer.json()
                except (OSError, ValueError, http.client.HTTPException):
                    return
                with lock:
                    if good:
                        acknowledged[kind].append(name)
                    if len(acknowledged["events"]) + len(acknowledged["invitations"]) >= 60 * (round + 1):
                        enough.set()

        writers = [threading.Thread(target=write, args=(w,)) for w in range(6)]
        for writer in writers:
            writer.start()
        assert enough.wait(DEADLINE_S)
        server.stop(signal.SIGKILL)
        stop.set()
        for writer in writers:
            writer.join(DEADLINE_S)
    with Accounts(root=tmp_path) as server:
        token = server.sign_in()["accessToken"]
        assert server.me(token)["isOwner"]
        database = server.database()
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        invited = {email.split("@")[0] for (email,) in database.execute("SELECT email FROM invitations")}
        assert set(acknowledged["invitations"]) <= invited
        logged = {e["event"]["view"]["completion_id"] for e in server.events()}
        assert set(acknowledged["events"]) <= logged
        kept = {json.loads(p)["view"]["completion_id"] for (p,) in database.execute("SELECT payload FROM user_events")}
        assert set(acknowledged["events"]) <= kept


def test_a_full_disk_is_told_and_ends_nothing(tmp_path):
    """A file system of one megabyte under TABBY_ROOT."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    root = tmp_path / "root"
    root.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1500k", "tmpfs", root], check=True)
    try:
        with Accounts(root=root) as server:
            owner = server.register()["accessToken"]
            (root / "filler").write_bytes(b"x" * 10)
            with open(root / "filler", "ab", buffering=0) as filler:
                try:
                    while True:
                        filler.write(b"x" * 4096)
                except OSError:
                    pass
            event = {"type": "view", "completion_id": "c" * 60000, "choice_index": 0}
            answer = server.post("/v1/events", event, bearer(owner))
            assert answer.status == 507 and "full" in answer.text.lower() or "space" in answer.text.lower()
            assert server.status(token=owner) == 200, "who is known stays known"
            (root / "filler").unlink()
            assert server.post("/v1/events", {**event, "completion_id": "after"}, bearer(owner)).status == 200
            assert [e["event"]["view"]["completion_id"] for e in server.events()] == ["after"], "no half line"
    finally:
        subprocess.run(["umount", root], check=True)


# ---- GraphQL over HTTP ----


def test_queries_that_are_none(server):
    for body in [b"", b"{", b"[]", b'{"query": 1}', b'{"variables": {}}', b'{"query": "{ me { id } }", "variables": 1}']:
        answer = server.post("/graphql", body)
        assert answer.status == 400 and answer.json()["errors"][0]["message"], body
    answer = server.ask("{ nope }", status=400)
    assert answer == {"errors": [{"message": 'Unknown field "nope" on type "Query"', "locations": [{"line": 1, "column": 3}]}]}
    assert server.post("/graphql", b'{"query": "' + b"x" * (2 << 20) + b'"}').status == 413
    batch = server.post("/graphql", [{"query": "{ serverInfo { isDemoMode } }"}] * 2)
    assert batch.json() == [{"data": {"serverInfo": {"isDemoMode": False}}}] * 2
    plain = server.request(server.port, "/graphql", "POST", b"{ serverInfo { isDemoMode } }", {"Content-Type": "application/graphql"})
    assert plain.json() == {"data": {"serverInfo": {"isDemoMode": False}}}
    token = server.register()["accessToken"]
    assert server.post(f"/graphql?access_token={token}", {"query": "{ me { email } }"}).json()["data"]["me"]
    assert server.ask("{ me { id } }")["data"] is None


def test_the_schema_answers_the_introspection_of_tools(server):
    query = (pathlib.Path(__file__).parent / "introspection.graphql").read_text()
    schema = server.data(query)["__schema"]
    types = {t["name"]: t for t in schema["types"]}
    assert {"Query", "Mutation", "Subscription", "UserSecured", "ThreadRunItem"} <= set(types)
    assert {f["name"] for f in types["Mutation"]["fields"]} >= {"register", "tokenAuth", "refreshToken", "createGitRepository"}
    assert {t["name"] for t in types["User"]["possibleTypes"]} == {"UserSecured"}


def test_a_client_that_leaves_during_a_query_harms_nobody(server):
    body = json.dumps({"query": 'mutation { register(email: "a@b.c", password1: "Passw0rd!", password2: "Passw0rd!", name: "n")'
                                " { accessToken } }"}).encode()
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(b"POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
                           % len(body) + body)
    assert server.data("{ serverInfo { isDemoMode } }")
    assert server.stop() == 0, "and the end waits for what was begun"
