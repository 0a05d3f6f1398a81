"""A machine that lacks something: what doctor says of it, and what a daemon that is started there says.
Things are taken away in a mount namespace of their own."""

import json
import os
import subprocess

import pytest
from conftest import BIN, free_port

CATNAP = str(BIN / "catnap")


def run(*words):
    return subprocess.run(
        [CATNAP, *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60
    )


def doctor(*words, before="true"):
    """In a mount namespace of its own, where `before` may take something away."""
    script = f"{before}\nexec {CATNAP} doctor {' '.join(words)}\n"
    return subprocess.run(["unshare", "-m", "sh", "-ec", script], capture_output=True, text=True, timeout=60)


def needs_root():
    if os.geteuid() != 0:
        pytest.skip("needs root to take something from a machine")


def checks(done):
    return {c["name"]: c for c in json.loads(done.stdout)["checks"]}


def test_doctor_on_this_machine():
    needs_root()
    done = doctor("--json")
    assert done.returncode == 0, done.stdout
    assert all(c["ok"] for c in checks(done).values() if c["needed"])


def test_no_runtime(tmp_path):
    needs_root()
    done = doctor("--runtime", "no-such-runtime")
    assert done.returncode == 1
    assert (
        "MISSING  runtime        there is no 'no-such-runtime'" in done.stdout
        and "apt-get install crun" in done.stdout
    )
    config = tmp_path / "catnapd.yaml"
    config.write_text("runtime: no-such-runtime\n")
    done = run(
        "serve",
        "--state",
        str(tmp_path / "state"),
        "--config",
        str(config),
        "--api",
        str(tmp_path / "api.sock"),
        "--gateway",
        f"127.0.0.1:{free_port()}",
    )
    assert done.returncode == 1 and "no-such-runtime" in done.stderr and "apt-get install crun" in done.stderr


def test_crun_that_is_not_installed(tmp_path):
    needs_root()
    crun = subprocess.run(["sh", "-c", "command -v crun"], capture_output=True, text=True).stdout.strip()
    not_a_program = tmp_path / "empty"
    not_a_program.write_text("")
    away = f"mount --bind {not_a_program} $(readlink -f {crun})"
    assert "there is no 'crun'" in doctor(before=away).stdout
    done = subprocess.run(
        [
            "unshare",
            "-m",
            "sh",
            "-ec",
            f"{away}\nexec {CATNAP} serve --state {tmp_path}/state --api {tmp_path}/s "
            f"--gateway 127.0.0.1:{free_port()}",
        ],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1 and "apt-get install crun" in done.stderr


def test_no_overlay():
    needs_root()
    # It is tried, so a list without it would not do: whoever may mount nothing has none either.
    no_mounts = f"exec setpriv --inh-caps -sys_admin --bounding-set -sys_admin {CATNAP} doctor --json"
    overlay = checks(doctor(before=no_mounts))["overlay"]
    assert not overlay["ok"] and "modprobe overlay" in overlay["fix"]


def test_no_cgroups(tmp_path):
    needs_root()
    away = "umount -R -l /sys/fs/cgroup"
    done = doctor("--json", before=away)
    assert done.returncode == 1
    freezer = checks(done)["freezer"]
    assert not freezer["ok"] and freezer["needed"] and "cgroup2" in freezer["fix"]
    assert not checks(done)["limits"]["ok"]
    done = subprocess.run(
        [
            "unshare",
            "-m",
            "sh",
            "-ec",
            f"{away}\nexec {CATNAP} serve --state {tmp_path}/state --api {tmp_path}/s "
            f"--gateway 127.0.0.1:{free_port()}",
        ],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1 and "mount -t cgroup2" in done.stderr


def test_without_root(tmp_path):
    needs_root()
    done = subprocess.run(
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", CATNAP, "doctor"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    if "setpriv" in done.stderr or done.returncode in (126, 127):
        pytest.skip("the program can't be run by nobody: " + done.stderr)
    if "user namespaces are refused" in done.stdout:
        assert done.returncode == 1 and "MISSING  root" in done.stdout and "sudo" in done.stdout
    else:
        assert done.returncode == 0 and "no: user 65534, in user namespaces" in done.stdout
        assert "less     freezer" in done.stdout and "Delegate=yes" in done.stdout


def test_doctor_reads_its_line():
    done = run("doctor", "--jsn")
    assert done.returncode == 2 and "--jsn" in done.stderr
