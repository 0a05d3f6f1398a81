"""What `tabby serve` keeps: databases of Tabby's, made by sqlite3 as Tabby leaves them; events; over
kills, and on a full disk."""

import hashlib
import http.client
import json
import os
import signal
import sqlite3
import subprocess
import threading

import pytest
from accounts import Accounts, bearer
from conftest import BIN, DEADLINE_S, ROOT
from tabby import SMALL

SCHEMA = ROOT / "src/account/schema.sql"


@pytest.fixture
def server():
    with Accounts() as made:
        yield made


# ---- a database of Tabby's ----


@pytest.fixture
def old_root(tmp_path):
    """TABBY_ROOT as Tabby left it: tables, the migrations noted, an owner, a second user, one that was put
    out, sessions and counts. Written by SQL, not by copycat."""
    (tmp_path / "ee").mkdir()
    with sqlite3.connect(tmp_path / "ee/db.sqlite") as database:
        database.executescript(SCHEMA.read_text())
        for version in [*range(1, 32), *range(33, 51)]:
            database.execute(
                "INSERT INTO _sqlx_migrations VALUES (?, 'x', '2025-01-01 00:00:00', 1, x'00', 1)", (version,)
            )
        users = [
            ("Owner@Example.org", 1, 1, "auth_" + "a" * 32, OLD_HASH, "Ada"),
            ("b@example.org", 0, 1, "auth_" + "b" * 32, None, None),
            ("c@example.org", 0, 0, "auth_" + "c" * 32, OLD_HASH, "Carl"),
        ]
        for user in users:
            database.execute(
                "INSERT INTO users (email, is_admin, active, auth_token, password_encrypted, name) VALUES"
                " (?,?,?,?,?,?)",
                user,
            )
        database.execute(
            "INSERT INTO refresh_tokens (user_id, token, expires_at) VALUES (1, 'Good', datetime('now', '+1"
            " day'))"
        )
        database.execute(
            "INSERT INTO refresh_tokens (user_id, token, expires_at) VALUES (1, 'Gone', datetime('now', '-1"
            " day'))"
        )
        database.execute("INSERT INTO registration_token (id, token) VALUES (1, 'registered')")
        database.execute(
            "INSERT INTO user_completions (user_id, completion_id, language, views, selects)"
            " VALUES (2, 'cmpl-1', 'python', 3, 1)"
        )
        database.execute(
            "INSERT INTO server_setting (id, network_external_url, security_disable_client_side_telemetry)"
            " VALUES (1, 'https://tabby.example.org', 1)"
        )
    database.close()
    return tmp_path


# Of "Passw0rd!", by argon2-cffi (argon2id, 19456 KiB, 2 passes, 1 lane): not by what is under test.
OLD_HASH = "$argon2id$v=19$m=19456,t=2,p=1$Iqa/WUhnKTE+CJb4mDrEuQ$ZsatWqVtUlJnt0Zqh1rfZOGCHj/L4twnMSxKVd07vts"


def test_an_existing_database_goes_on_working(old_root):
    with Accounts(root=old_root) as server:
        assert [server.status(token="auth_" + c * 32) for c in "abc"] == [200, 200, 401]
        token = server.sign_in()["accessToken"]
        assert server.me(token)["email"] == "Owner@Example.org"
        assert server.data("{ registrationToken }", token)["registrationToken"] == "registered"
        assert (
            server.data("{ networkSetting { externalUrl } }", token)["networkSetting"]["externalUrl"]
            == "https://tabby.example.org"
        )
        assert server.get("/v1beta/server_setting", headers=bearer(token)).json() == {
            "disable_client_side_telemetry": True
        }
        refresh = "mutation($t: String!) { refreshToken(refreshToken: $t) { accessToken } }"
        assert server.error(refresh, t="Gone")["message"] == "Expired refresh token"
        assert server.status(token=server.data(refresh, t="Good")["refreshToken"]["accessToken"]) == 200
        (stats,) = server.data("{ dailyStatsInPastYear { language completions views selects } }", token)[
            "dailyStatsInPastYear"
        ]
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
    done = subprocess.run(
        [BIN / "tabby", "serve", "--host", "127.0.0.1", "--port", "0"],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        env={**os.environ, "TABBY_ROOT": str(root)},
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 101 and "Listening" not in done.stdout
    return done.stderr


def test_a_database_of_a_newer_tabby_is_not_touched(old_root):
    with sqlite3.connect(old_root / "ee/db.sqlite") as database:
        database.execute(
            "INSERT INTO _sqlx_migrations VALUES (57, 'later', '2030-01-01 00:00:00', 1, x'00', 1)"
        )
    database.close()
    before = state_of(old_root / "ee")
    said = refused(old_root)
    assert "a newer Tabby wrote it (migration 57" in said and str(old_root / "ee/db.sqlite") in said
    assert "Nothing in it was changed" in said
    assert state_of(old_root / "ee") == before


def test_a_newer_database_that_was_left_in_the_middle_is_not_touched_either(old_root):
    """Its newest migration is in the write-ahead log only: the process that wrote it was killed."""
    script = (
        "import sqlite3, os, sys; d = sqlite3.connect(sys.argv[1]); d.execute('PRAGMA journal_mode = WAL');"
        "d.execute('PRAGMA wal_autocheckpoint = 0');"
        "d.execute(\"INSERT INTO _sqlx_migrations VALUES (57, 'later', '', 1, x'00', 1)\"); d.commit();"
        "os.kill(os.getpid(), 9)"
    )
    subprocess.run(["/usr/bin/python3", "-c", script, old_root / "ee/db.sqlite"])
    before = state_of(old_root / "ee")
    assert before.keys() >= {"db.sqlite-wal"}
    assert "migration 57" in refused(old_root)
    after = state_of(old_root / "ee")
    assert {k: after[k] for k in ("db.sqlite", "db.sqlite-wal")} == {
        k: before[k] for k in ("db.sqlite", "db.sqlite-wal")
    }


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
    with Accounts(
        root=old_root, extra_env={"TABBY_OWNER_IMPERSONATE_OVERRIDE": "help@example.org:L3t-me-in!"}
    ) as server:
        assert server.me(server.sign_in("help@example.org", "L3t-me-in!")["accessToken"])["isOwner"]
        assert "errors" in server.ask(
            'mutation { tokenAuth(email: "help@example.org", password: "L3t-me-out!") { accessToken } }'
        )


# ---- what was done ----


def test_events_are_logged_and_counted(server):
    owner = server.register()["accessToken"]
    auth = bearer(server.me(owner)["authToken"])
    view = {"type": "view", "completion_id": "cmpl-1", "choice_index": 0, "view_id": "v"}
    assert server.post("/v1/events", view, auth).status == 200
    assert (
        server.post(
            "/v1/events?select_kind=line", {**view, "type": "select", "elapsed": 12, "select_kind": "x"}, auth
        ).status
        == 200
    )
    answer = server.post("/v1/events?select_kind=word", {**view, "type": "select"}, auth)
    assert (answer.status, answer.body) == (200, b"")
    assert (
        server.post("/v1/events", {**view, "type": "dismiss", "elapsed": 3, "unknown": [1]}, auth).status
        == 200
    )
    base = {"completion_id": "cmpl-1", "choice_index": 0}
    assert [e["event"] for e in server.events()] == [
        {"view": {**base, "view_id": "v"}},
        {"select": {**base, "kind": "line", "view_id": "v", "elapsed": 12}},
        {"select": {**base, "view_id": "v"}},
        {"dismiss": {**base, "view_id": "v", "elapsed": 3}},
    ]
    assert {e["user"] for e in server.events()} == {"E16n1q"}
    line = next((server.root / "events").iterdir()).read_text().split("\n")[1]
    assert line.startswith('{"user":"E16n1q","ts":') and line.endswith(
        '"event":{"select":{"completion_id":"cmpl-1","choice_index":0,'
        '"kind":"line","view_id":"v","elapsed":12}}}'
    )
    edges = server.data(
        '{ userEvents(start: "2020-01-01T00:00:00Z", end: "2100-01-01T00:00:00Z", first: 2)'
        " { edges { node { kind userId payload } } pageInfo { hasNextPage } } }",
        owner,
    )["userEvents"]
    assert [e["node"]["kind"] for e in edges["edges"]] == ["VIEW", "SELECT"] and edges["pageInfo"][
        "hasNextPage"
    ]
    assert json.loads(edges["edges"][0]["node"]["payload"]) == {"view": {**base, "view_id": "v"}}


@pytest.mark.parametrize(
    "body, status",
    [
        (b"", 400),
        (b"{", 400),
        (b"[]", 422),
        (b'"x"', 422),
        (b'{"type":"view"}', 422),
        (b'{"type":"view","completion_id":"c"}', 422),
        (b'{"completion_id":"c","choice_index":0}', 422),
        (b'{"type":"view","completion_id":1,"choice_index":0}', 422),
        (b'{"type":"view","completion_id":"c","choice_index":-1}', 422),
        (b'{"type":"view","completion_id":"c","choice_index":4294967296}', 422),
        (b'{"type":"view","completion_id":"c","choice_index":0,"view_id":1}', 422),
        (b'{"type":"poke","completion_id":"c","choice_index":0}', 400),
        ("long", 413),
    ],
)
def test_what_is_no_event_is_refused(server, body, status):
    auth = bearer(server.me(server.register()["accessToken"])["authToken"])
    if body == "long":
        body = b'{"type":"view","completion_id":"c","choice_index":0,"x":"' + b"y" * (2 << 20) + b'"}'
    assert server.post("/v1/events", body, auth).status == status
    assert (
        server.request(
            server.port, "/v1/events", "POST", b"{}", {**auth, "Content-Type": "text/plain"}
        ).status
        == 415
    )
    assert server.events() == [] if (server.root / "events").exists() else True


def test_a_completion_is_an_event_with_all_that_led_to_it():
    with Accounts("--model", SMALL) as server:
        owner = server.register()["accessToken"]
        body = {
            "language": "python",
            "segments": {
                "prefix": "def fib(n):\n    ",
                "suffix": "\n",
                "filepath": "a.py",
                "git_url": "https://example.org/x.git",
                "declarations": [{"filepath": "b.py", "body": "x = 1"}],
            },
        }
        answer = server.post("/v1/completions", body, {**bearer(owner), "User-Agent": "my-editor/1"}).json()
        view = {"type": "view", "completion_id": answer["id"], "choice_index": 0}
        assert server.post("/v1/events", view, bearer(owner)).status == 200
        assert server.post("/v1/events", {**view, "type": "select"}, bearer(owner)).status == 200
        event = server.events()[0]["event"]["completion"]
        assert list(event) == ["completion_id", "language", "prompt", "segments", "choices", "user_agent"]
        assert (
            event["completion_id"] == answer["id"]
            and event["language"] == "python"
            and event["user_agent"] == "my-editor/1"
        )
        assert event["segments"] == body["segments"] and event["choices"] == answer["choices"]
        assert "def fib(n):" in event["prompt"] and "Path: b.py" in event["prompt"]
        start_end = '(start: "2020-01-01T00:00:00Z", end: "2100-01-01T00:00:00Z", languages: [PYTHON])'
        (day,) = server.data(
            "{ dailyStats%s { language languageName completions views selects } }" % start_end, owner
        )["dailyStats"]
        assert day == {
            "language": "PYTHON",
            "languageName": "python",
            "completions": 1,
            "views": 1,
            "selects": 1,
        }
        second = server.register("b@example.org", server.invite(owner, "b@example.org"))["accessToken"]
        assert (
            server.data('{ dailyStatsInPastYear(users: ["R1AWw5"]) { views } }', second)[
                "dailyStatsInPastYear"
            ]
            == []
        )
        assert server.error('{ dailyStatsInPastYear(users: ["E16n1q"]) { views } }', second)[
            "extensions"
        ] == {"code": "FORBIDDEN"}
        other = {**view, "type": "select"}
        assert server.post("/v1/events", other, bearer(second)).status == 200
        assert server.data("{ dailyStatsInPastYear { selects } }", owner)["dailyStatsInPastYear"] == [
            {"selects": 1}
        ], "nobody counts for somebody else's completion"


def test_killed_while_writing_nothing_that_was_acknowledged_is_lost(tmp_path):
    """In rounds: invitations and events are written by many at once until the server is killed."""
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
                        answer = server.post(
                            "/graphql",
                            {"query": 'mutation { createInvitation(email: "%s@example.org") }' % name},
                            bearer(token),
                        )
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
        kept = {
            json.loads(p)["view"]["completion_id"]
            for (p,) in database.execute("SELECT payload FROM user_events")
        }
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
