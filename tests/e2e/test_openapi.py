"""The API against its own description: schemathesis reads /api-docs/openapi.json from the running server,
asks whatever the description allows and much that it forbids, and holds each answer against it."""

import os
import pathlib
import subprocess

import pytest
from accounts import Accounts
from tabby import SMALL

HERE = pathlib.Path(__file__).parent


@pytest.fixture(scope="module")
def tool():
    made = subprocess.run(
        [HERE.parents[1] / "tools/venv", "schemathesis"], check=True, stdout=subprocess.PIPE, text=True
    )
    return pathlib.Path(made.stdout.strip()) / "bin/st"


@pytest.fixture(scope="module")
def server():
    with Accounts("--model", SMALL, "--chat-model", SMALL, "--parallelism", "4") as made:
        owner = made.register()["accessToken"]
        made.token = made.me(owner)["authToken"]
        made.registrar = made.data("{ registrationToken }", owner)["registrationToken"]
        yield made


# Of completions and chats only what is to be refused: each that is not takes a model's time.
@pytest.mark.parametrize(
    "path, more",
    [
        ("/v1/completions", ["--mode", "negative", "--max-examples", "30"]),
        ("/v1/chat/completions", ["--mode", "negative", "--max-examples", "30"]),
        ("/v1/events", ["--max-examples", "60"]),
        ("/v1/health", ["--max-examples", "10"]),
        ("/v1beta/server_setting", ["--max-examples", "10"]),
        ("/v1beta/models", ["--max-examples", "10"]),
        ("^/v1beta/ingestion", ["--max-examples", "8", "--phases", "examples,coverage,fuzzing"]),  # all three
    ],
)
def test_what_is_described_is_what_is_there(tool, server, path, more, tmp_path):
    token = server.registrar if "ingestion" in path else server.token
    done = subprocess.run(
        [
            tool,
            "--config-file",
            HERE / "schemathesis.toml",
            "run",
            server.url + "/api-docs/openapi.json",
            "--url",
            server.url,
            "-H",
            f"Authorization: Bearer {token}",
            "--include-path-regex" if path[0] == "^" else "--include-path",
            path,
            "--seed",
            "1",
            "--no-color",
            *more,
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=600,
        env={k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")},
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert ("3 selected" if path[0] == "^" else "1 selected") in done.stdout


def test_the_description_names_what_tabby_has(server):
    document = server.get("/api-docs/openapi.json").json()
    assert document["info"]["title"] == "Tabby Server"
    assert set(document["paths"]) >= {
        "/v1/events",
        "/v1/completions",
        "/v1/chat/completions",
        "/v1/health",
        "/v1beta/server_setting",
        "/v1beta/ingestion",
        "/v1beta/ingestion/{source}",
        "/v1beta/ingestion/{source}/{id}",
    }
    assert document["components"]["securitySchemes"]["token"]["scheme"] == "bearer"
