"""catnap login: both clients work after it without a variable; the file keeps all else that is in it."""

import stat
import subprocess

import pytest

from .client import PREAMBLE, Client

APP = """
app = modal.App("$APP", image=image)


@app.function()
def double(x):
    return 2 * x


@app.local_entrypoint()
def main():
    print("double", double.remote(21))
"""
OTHERS = """# kept
[work]
token_id = "ak-work"   # Modal's own
token_secret = "as-work"
active = true

[ "play" ]
server_url='https://example.net'
"""


class LoggedIn(Client):
    """Nothing about catnap in its environment."""

    @property
    def env(self):
        return {k: v for k, v in super().env.items() if not k.startswith("MODAL_")}


@pytest.fixture
def user(version, house, tmp_path):
    client = LoggedIn(version, house, tmp_path, token=("", ""))
    client.file = client.home / ".modal.toml"
    client.login = lambda *words, **more: house.catnap.cli(
        *words, env={**client.env, "CATNAP_API": house.catnap.api}, **more
    )
    return client


def test_both_clients_work_after_it(user, house):
    user.file.write_text(OTHERS)
    said = user.login("login").stdout
    assert str(user.file) in said and "catnap logout" in said and house.url in said
    text = user.file.read_text()
    assert text.startswith(
        OTHERS.replace("active = true", "active = false  # was active before `catnap login`")
    )
    assert stat.S_IMODE(user.file.stat().st_mode) == 0o600
    app = user.name("login")
    assert "deployed" in user.run("deploy", user.write(APP, APP=app))
    assert "double 42" in user.run("run", "app.py")
    user.stop(app)
    assert user.run("profile", "current").split()[-1] == "catnap"

    said = user.login("logout").stdout
    assert "'work' is the active one" in said
    assert user.file.read_text() == OTHERS
    assert user.run("profile", "current").split()[-1] == "work"


def test_a_second_login_replaces_the_first_and_its_token(user, house):
    user.login("login")
    first = user.file.read_text()
    user.login("login", "--profile", "catnap")
    second = user.file.read_text()
    assert first != second and first.count("\n") == second.count("\n")
    token = first.split('token_id = "')[1].split('"')[0]
    assert token not in house.catnap.cli("token", "list").stdout
    user.login("logout")
    assert not user.file.exists(), "as it was before"
    assert "no profile" in user.login("logout", check=False).stderr


def test_a_profile_of_modals_own_is_not_overwritten(user):
    user.file.write_text(OTHERS)
    refused = user.login("login", "--profile", "work", check=False)
    assert refused.returncode == 1 and "--profile NAME" in refused.stderr
    refused = user.login("logout", "--profile", "work", check=False)
    assert refused.returncode == 1
    assert user.file.read_text() == OTHERS


def test_a_file_that_cannot_be_read_is_left_alone(user, house):
    before = house.catnap.cli("token", "list").stdout
    user.file.write_text('[work]\ntoken_id = "ak\n')
    refused = user.login("login", check=False)
    assert refused.returncode == 1 and "line 2" in refused.stderr and str(user.file) in refused.stderr
    assert user.file.read_text() == '[work]\ntoken_id = "ak\n'
    assert house.catnap.cli("token", "list").stdout == before


def test_variables_instead_of_a_file(user, house):
    lines = user.login("login", "--env").stdout
    assert lines.startswith("export MODAL_SERVER_URL=") and not user.file.exists()
    user.write(APP, APP=user.name("env"))
    done = subprocess.run(
        ["sh", "-c", f'{lines}\nexec "$0" run app.py', str(user.venv / "bin/modal")],
        cwd=user.cwd,
        env=user.env,
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert "double 42" in done.stdout, done.stdout + done.stderr


def test_a_file_elsewhere_and_behind_a_link(user, house, tmp_path):
    real = tmp_path / "dotfiles.toml"
    real.write_text(OTHERS)
    user.file.symlink_to(real)
    user.login("login")
    assert user.file.is_symlink() and "[catnap]" in real.read_text()
    user.login("logout")
    assert real.read_text() == OTHERS
    elsewhere = tmp_path / "elsewhere.toml"
    env = {**user.env, "CATNAP_API": house.catnap.api, "MODAL_CONFIG_PATH": str(elsewhere)}
    house.catnap.cli("login", env=env)
    assert "[catnap]" in elsewhere.read_text() and real.read_text() == OTHERS


def test_over_the_socket_where_there_is_no_port(version, make_catnap, tmp_path):
    catnap = make_catnap(["--modal", "off"]).start()

    class Closed:
        url = None

    closed = Closed()
    closed.catnap = catnap
    user = LoggedIn(version, closed, tmp_path, token=("", ""))
    catnap.cli("login", env={**user.env, "CATNAP_API": catnap.api})
    assert 'server_url = "unix:///' in (user.home / ".modal.toml").read_text()
    program = (
        PREAMBLE + 'd = modal.Dict.from_name("d", create_if_missing=True)\nd["a"] = 1\nprint("got", d["a"])\n'
    )
    (user.cwd / "script.py").write_text(program)
    assert "got 1" in user.run("script.py", python=True)


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0"])
def test_no_auth_is_refused_where_others_can_reach_it(make_catnap, tmp_path, address):
    from conftest import BIN

    done = subprocess.run(
        [
            BIN / "catnap",
            "serve",
            "--state",
            tmp_path / "state",
            "--api",
            tmp_path / "api.sock",
            "--no-auth",
            "--modal",
            address,
        ],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2 and "catnap login" in done.stderr and address in done.stderr
