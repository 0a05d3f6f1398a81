"""What a class was asked with (`with_options`) may go; the app that it is of goes on."""

from .client import Client

APP = """
import os

app = modal.App("$APP", image=image)


@app.cls(**limits())
class Box:
    @modal.method()
    def work(self):
        return "$WORD" + os.environ.get("SAID", "")
"""
WORK = """
box = modal.Cls.from_name("$APP", "Box")$OPTIONS
try:
    print("GOT", box().work.remote())
except Exception as error:
    print("GOT", type(error).__name__, error)
"""


def test_a_secret_of_options_that_went(house, tmp_path):
    client = Client("1.6.4", house, tmp_path)
    app, secret = client.name("options"), client.name("said")

    def work(options=""):
        out = client.script(WORK, APP=app, OPTIONS=options)
        return next(line[4:] for line in out.splitlines() if line.startswith("GOT"))

    asked = f'.with_options(secrets=[modal.Secret.from_name("{secret}")])'
    client.run("deploy", client.write(APP, APP=app, WORD="one"))
    client.run("secret", "create", secret, "SAID=yes")
    assert work(asked) == "oneyes"
    client.run("secret", "delete", "--yes", secret)
    client.run("deploy", client.write(APP, APP=app, WORD="two"))
    assert work() == "two"
    client.run("app", "stop", "--yes", app)
