"""Secrets: made, used in a function, and in the clear nowhere else."""

import json
import os

WORD = "correct-horse-battery-staple"
APP = """
import os

app = modal.App("$APP", image=image, secrets=[modal.Secret.from_name("$SECRET")])


@app.function(secrets=[modal.Secret.from_dict({"OTHER": "other-" + os.environ.get("WORD_OF_MINE", "")})])
def show():
    return [len(os.environ[name]) for name in ("PASSWORD", "OTHER")], os.environ["PASSWORD"][::-1]


@app.local_entrypoint()
def main():
    print("GOT", *show.remote())
"""


def in_the_clear(directory, words):
    """Files in which one of them stands: logs, the database, blobs, what containers are made from."""
    found = []
    for folder, _, names in os.walk(directory):
        for name in names:
            path = os.path.join(folder, name)
            if os.path.islink(path) or not os.path.isfile(path):
                continue
            with open(path, "rb") as file:
                content = file.read()
            found += [path for word in words if word.encode() in content]
    return found


def test_used_by_a_function_and_nowhere_in_the_clear(own_client, own_house, tmp_path):
    client, name = own_client, own_client.name("pass")
    client.run("secret", "create", name, f"PASSWORD={WORD}", "SECOND=two")
    listed = client.run("secret", "list", "--json")
    assert name in [v for row in json.loads(listed) for v in row.values()] and WORD not in listed
    env = {"WORD_OF_MINE": WORD}
    out = client.run("run", client.write(APP, APP=client.name("uses"), SECRET=name), env=env)
    assert f"GOT [{len(WORD)}, {len(WORD) + 6}] {WORD[::-1]}" in out
    client.run("deploy", "app.py", env=env)
    assert in_the_clear(own_house.catnap.directory, [WORD]) == []
    own_house.catnap.stop()  # what is written late is written now
    assert in_the_clear(own_house.catnap.directory, [WORD]) == []
    assert in_the_clear("/run", [WORD]) == []
    own_house.catnap.start()
    assert f"GOT [{len(WORD)}" in client.run("run", "app.py", env=env), "over a new start"


def test_changed_missing_and_removed(client):
    name = client.name("pass")
    missing = client.run("run", client.write(APP, APP=client.name("lacks"), SECRET=name), check=False)
    assert name in missing
    client.run("secret", "create", name, "PASSWORD=first")
    assert client.run("secret", "create", name, "PASSWORD=second", check=False)
    client.run("secret", "create", name, "PASSWORD=second", "--force")
    assert "dnoces" in client.run("run", "app.py")
    if not client.old:
        client.run("secret", "delete", name, "--yes")
        assert client.run("secret", "delete", name, "--yes", check=False)
