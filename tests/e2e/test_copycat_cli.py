"""The command line: Tabby's flags, defaults, messages and exit statuses; its files under TABBY_ROOT."""

import os
import re
import subprocess

import pytest
from conftest import BIN
from tabby import SMALL, Tabby


def run(*arguments, env=None):
    return subprocess.run(
        [BIN / "tabby", *arguments],
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
    )


@pytest.mark.parametrize("flag", ["--version", "-V"])
def test_versions(flag):
    assert re.fullmatch(r"tabby \d+\.\d+\.\d+\n", run(flag).stdout)
    assert re.fullmatch(r"tabby-serve \d+\.\d+\.\d+\n", run("serve", flag).stdout)


@pytest.mark.parametrize(
    "arguments", [["--help"], ["-h"], ["help"], ["serve", "--help"], ["help", "download"]]
)
def test_help_goes_to_stdout(arguments):
    done = run(*arguments)
    assert done.returncode == 0 and "Usage: tabby" in done.stdout and not done.stderr
    assert "no-webserver" not in done.stdout, "hidden"


def test_every_flag_is_in_the_help():
    text = run("serve", "--help").stdout
    for flag in ("--model", "--chat-model", "--host", "--port", "--device", "--chat-device", "--parallelism"):
        assert flag in text
    assert "[default: 8080]" in text and "[default: 0.0.0.0]" in text and "[default: cpu]" in text


@pytest.mark.parametrize(
    "arguments, word",
    [
        ([], "Usage"),
        (["sleep"], "unrecognized subcommand 'sleep'"),
        (["serve", "--modle", "x"], "unexpected argument '--modle' found"),
        (["serve", "--model"], "a value is required"),
        (["serve", "--port", "70000"], "invalid value '70000'"),
        (["serve", "--port", "-1"], "invalid value"),
        (["serve", "--host", "localhost"], "invalid value 'localhost'"),
        (["serve", "--device", "abacus"], "invalid value 'abacus'"),
        (["serve", "--parallelism", "256"], "invalid value '256'"),
        (["serve", "--port", "1", "--port", "2"], "cannot be used multiple times"),
        (["serve", "--chat-device", "cpu"], "required arguments were not provided"),
        (["serve", "--webserver"], "unexpected argument"),
        (["serve", "extra"], "unexpected argument 'extra'"),
        (["download"], "--model <MODEL>"),
        (["download", "--model", "x", "--prefer-local-file=yes"], "unexpected value"),
        (["scheduler"], "unrecognized subcommand"),
    ],
)
def test_lines_that_are_wrong(arguments, word):
    done = run(*arguments)
    assert done.returncode == 2 and word in done.stderr and not done.stdout


def test_traces_are_sent_nowhere_but_the_flag_is_taken():
    assert run("--otlp-endpoint", "http://127.0.0.1:4317", "serve", "--help").returncode == 0


@pytest.mark.parametrize("device, library", [("cuda", "libggml-cuda.so"), ("vulkan", "libggml-vulkan.so")])
def test_a_device_that_is_not_there(tmp_path, device, library):
    env = {"TABBY_ROOT": str(tmp_path)}
    done = run("serve", "--model", SMALL, "--port", "0", "--device", device, env=env)
    assert done.returncode == 101 and library in done.stderr and "COPYCAT_DEVICE_FALLBACK" in done.stderr
    with Tabby("--model", SMALL, "--device", device, extra_env={"COPYCAT_DEVICE_FALLBACK": "cpu"}) as tabby:
        assert tabby.get("/v1/health").json()["device"] == "cpu"
        assert f"--device {device} is not there: the CPU computes" in tabby.errors()


def test_the_root_is_made_and_closed_to_others(tmp_path):
    root = tmp_path / "deep" / "root"
    with Tabby(root=root) as tabby:
        assert tabby.get("/v1/health").status == 200
        assert root.stat().st_mode & 0o777 == 0o700
    root.chmod(0o755)
    with Tabby(root=root):
        assert root.stat().st_mode & 0o777 == 0o700


def test_the_banner_says_where_it_listens():
    with Tabby("--host", "127.0.0.1") as tabby:
        assert "📄 Version " in tabby.output.decode()
        assert f"🚀 Listening at http://127.0.0.1:{tabby.port}\n" in tabby.output.decode()


def test_ipv6():
    with Tabby("--host", "::1") as tabby:
        assert f"http://[::1]:{tabby.port}" in tabby.output.decode()
