"""Repositories for tests, made by git itself."""

import os
import subprocess

INVOICE = '''class Invoice:
    """What a customer owes."""

    def __init__(self, amount, currency):
        self.amount = amount
        self.currency = currency

    def total_with_tax(self, rate):
        return round(self.amount * (1 + rate), 2)
'''


def git(folder, *arguments):
    settings = ["-c", "user.name=t", "-c", "user.email=t@t", "-c", "init.defaultBranch=main"]
    env = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}
    done = subprocess.run(
        ["git", *settings, *arguments], cwd=folder, env=env, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def write(folder, name, text):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def commit(folder):
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "x")
    return git(folder, "rev-parse", "HEAD")


def make_repository(folder):
    folder.mkdir(parents=True)
    git(folder, "init", "-q")
    for i in range(30):
        body = f"def handle_{i}(request):\n    value = request.number * {i}\n    return value\n"
        write(folder, f"shop/handler_{i}.py", body)
    write(folder, "shop/invoice.py", INVOICE)
    write(folder, "README.md", "# Shop\n\nHow bills are made.\n")
    (folder / "passwd.py").symlink_to("/etc/passwd")
    with open(folder / "huge.py", "wb") as file:  # sparse here; git stores it small, and nobody may read it
        file.truncate(40 << 20)
    commit(folder)
    return folder
