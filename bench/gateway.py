"""The gateway, awake, beside nginx and haproxy: proxies in front of the same upstream, in interleaved rounds.

Ours is the real `catnap serve` with the upstream in a container of its own; the peers have it on the loopback
of the host. They are set up as somebody who knows them would: connections to the upstream kept, no access
log, the same X-Forwarded-* fields as ours, and one worker (thread), as ours has one. Beside it their
defaults, which are one worker a processor, without a goal: for honesty.

BENCH_ROUNDS (5) and BENCH_SECONDS (2, of each measurement) make it longer or shorter. BENCH_ALONE=1 (root):
on a machine with other work, what is measured goes before it (nice, shares), and rests as long in between."""

import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

from common import BIN, build, figure, median, say
from conftest import Catnap, free_port, wait_for

ROUNDS = int(os.environ.get("BENCH_ROUNDS", 5))
SECONDS = int(os.environ.get("BENCH_SECONDS", 2))
ALONE = bool(os.environ.get("BENCH_ALONE"))
CONNECTIONS = [1, 32, 256]
UNIT_US = {"us": 1, "ms": 1000, "s": 1000000, "m": 60000000}


def answers(port):
    import socket

    try:
        with socket.create_connection(("127.0.0.1", port), 1) as s:
            s.sendall(b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n")
            return b" 200 " in s.recv(4096)
    except OSError:
        return False


def family(pid):
    children = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True).stdout.split()
    return [pid, *(member for child in children for member in family(int(child)))]


class Program:
    """A proxy (or the upstream itself) as a process with children."""

    def __init__(self, name, port, command, env=None):
        self.name, self.port = name, port
        self.process = subprocess.Popen(command, env={**os.environ, **(env or {})}, stdin=subprocess.DEVNULL)
        wait_for(f"{name} answers", lambda: answers(port))

    def pids(self):
        return family(self.process.pid)

    def upstream_pids(self):
        return []

    def stop(self):
        self.process.terminate()
        self.process.wait(10)


class Ours:
    name = "catnap"

    def __init__(self, directory, upstream):
        self.port = free_port()
        self.catnap = Catnap(directory).start()
        self.catnap.up(
            f"app: bench\nfunctions:\n  web:\n    image: host\n    command: [/srv/{upstream.name}]\n"
            f"    port: 8000\n    publish: {self.port}\n    max_inputs: 1000\n    doze_after: never\n"
            f'    scaledown_window: never\n    env: {{PORT: "8000"}}\n'
            f"    volumes:\n      /srv: {{volume: {upstream.parent}, read_only: true}}\n"
        )
        wait_for("catnap answers", lambda: answers(self.port))

    def pids(self):
        return [self.catnap.process.pid]

    def upstream_pids(self):
        containers = self.catnap.function("bench", "web")["containers"]
        return [pid for container in containers for pid in family(container["pid"])]

    def stop(self):
        self.catnap.stop()


def nginx(directory, name, up, workers):
    port = free_port()
    home = pathlib.Path(directory) / name.replace(" ", "-").replace(",", "")
    home.mkdir()
    (home / "nginx.conf").write_text(f"""
daemon off; master_process on; worker_processes {workers}; pid {home}/pid; error_log {home}/error.log;
worker_rlimit_nofile 16384;
events {{ worker_connections 8192; }}
http {{
  access_log off; tcp_nodelay on; keepalive_requests 100000000; keepalive_timeout 75s;
  client_body_temp_path {home}/body; proxy_temp_path {home}/proxy; fastcgi_temp_path {home}/f;
  uwsgi_temp_path {home}/u; scgi_temp_path {home}/s;
  upstream app {{ server 127.0.0.1:{up}; keepalive 1024; keepalive_requests 100000000; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_set_header Host $http_host; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto $scheme; proxy_set_header X-Forwarded-Host $http_host;
    }}
  }}
}}
""")
    return Program(name, port, ["nginx", "-p", str(home), "-c", str(home / "nginx.conf")])


def haproxy(directory, name, up, threads):
    port = free_port()
    path = pathlib.Path(directory) / (name.replace(" ", "-").replace(",", "") + ".cfg")
    path.write_text(f"""
global
  maxconn 8192
  {f'nbthread {threads}' if threads else ''}
defaults
  mode http
  option http-keep-alive
  option forwardfor
  http-reuse always
  timeout connect 5s
  timeout client 75s
  timeout server 60s
frontend in
  bind 127.0.0.1:{port}
  http-request set-header X-Forwarded-Proto http
  http-request set-header X-Forwarded-Host %[req.hdr(Host)]
  default_backend app
backend app
  server one 127.0.0.1:{up} pool-max-conn -1
""")
    return Program(name, port, ["haproxy", "-db", "-q", "-f", str(path)])


def cpu_us(pids):
    ticks = 0
    for pid in pids:
        fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks * 1000000 / os.sysconf("SC_CLK_TCK")


def prefer(pids, preferred):
    """Before all others on the machine, or like them: by nice; what has a cgroup (v1) by its shares."""
    for pid in pids:
        for thread in os.listdir(f"/proc/{pid}/task"):
            os.setpriority(os.PRIO_PROCESS, int(thread), -15 if preferred else 0)
        found = re.search(r":cpu(?:,\w+)*:(/.+)", open(f"/proc/{pid}/cgroup").read())
        group = pathlib.Path("/sys/fs/cgroup/cpu" + found.group(1)) if found else pathlib.Path("/")
        while (group / "cpu.shares").exists() and group != pathlib.Path("/sys/fs/cgroup/cpu"):
            (group / "cpu.shares").write_text("29154" if preferred else "1024")
            group = group.parent


def load_alone(what, upstream, connections):
    if not ALONE:
        return load(what, connections)
    pids = {*what.pids(), *what.upstream_pids(), *upstream.pids()}
    prefer(pids, True)
    try:
        return load(what, connections)
    finally:
        prefer(pids, False)
        time.sleep(SECONDS)


def load(what, connections):
    before = cpu_us(what.pids())
    url = f"http://127.0.0.1:{what.port}/"
    command = ["wrk", "-t1", f"-c{connections}", f"-d{SECONDS}s", "--latency", url]
    if ALONE:
        command = ["nice", "-n", "-15", *command]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in out or "Socket errors" in out:
        sys.exit(f"gateway: {what.name} at {connections} connections:\n{out}")
    result = {"rps": float(re.search(r"Requests/sec: +([\d.]+)", out).group(1))}
    for name, percent in (("p50", "50"), ("p99", "99")):
        value, unit = re.search(rf" {percent}% +([\d.]+)(us|ms|s|m)", out).groups()
        result[name] = float(value) * UNIT_US[unit]
    requests = int(re.search(r"(\d+) requests in", out).group(1))
    result["cpu"] = (cpu_us(what.pids()) - before) / max(1, requests)
    return result


def measure(programs):
    """{name: {connections: [round, ...]}}; who begins changes from round to round."""
    results = {p.name: {c: [] for c in CONNECTIONS} for p in programs}
    for round_number in range(ROUNDS):
        say(f"gateway: round {round_number + 1} of {ROUNDS}")
        at = round_number % len(programs)
        for connections in CONNECTIONS:
            for program in programs[at:] + programs[:at]:
                result = load_alone(program, programs[0], connections)
                results[program.name][connections].append(result)
    return results


def compare(results, title, key, connections, unit, peer, goal, least=False, floor=None):
    """Ours to the peer's, round by round. `floor`: what of both is not theirs, by name."""

    def values(name):
        base = results[floor][connections] if floor else [{key: 0}] * ROUNDS
        return [r[key] - b[key] for r, b in zip(results[name][connections], base)]

    ours, theirs = values("catnap"), values(peer)
    ratios = [a / b if b > 0 else 0 for a, b in zip(ours, theirs)]
    ok = None if not goal else median(ratios) >= 1 if least else median(ratios) <= 1
    figure("gateway", title, median(ours), unit, peer, median(theirs), ratios, goal, ok)


def report(results):
    compare(results, "added p50, 1 connection", "p50", 1, "us", "haproxy", "<= 1", floor="upstream")
    compare(results, "added p50, 1 connection", "p50", 1, "us", "nginx", None, floor="upstream")
    for connections in CONNECTIONS[1:]:
        at = f"{connections} connections"
        compare(results, f"requests/s, {at}", "rps", connections, "1/s", "nginx", ">= 1", least=True)
        compare(results, f"requests/s, {at}", "rps", connections, "1/s", "haproxy", None)
    for connections in CONNECTIONS:
        at = f"{connections} connection{'s' if connections > 1 else ''}"
        compare(results, f"p99, {at}", "p99", connections, "us", "haproxy", "<= 1")
        compare(results, f"p99, {at}", "p99", connections, "us", "nginx", None)
    for peer in ("nginx", "haproxy"):
        compare(results, "processor time a request, 32 connections", "cpu", 32, "us", peer, None)
    processors = os.cpu_count()
    for connections in CONNECTIONS[1:]:
        for key, unit in (("rps", "1/s"), ("p99", "us")):
            name = "requests/s" if key == "rps" else key
            for peer in ("nginx", "haproxy"):
                compare(
                    results,
                    f"{name}, {connections} connections",
                    key,
                    connections,
                    unit,
                    f"{peer}, {processors} workers",
                    None,
                )


def main():
    upstream = build("bench/upstream.c", BIN / "bench" / "gateway" / "upstream", "-static", "-D_GNU_SOURCE")
    processors = os.cpu_count()
    programs = []
    with tempfile.TemporaryDirectory(prefix="catnap-bench-") as directory:
        try:
            port = free_port()
            programs.append(Program("upstream", port, [str(upstream)], {"PORT": str(port)}))
            programs.append(Ours(directory, upstream))
            programs.append(nginx(directory, "nginx", port, 1))
            programs.append(haproxy(directory, "haproxy", port, 1))
            programs.append(nginx(directory, f"nginx, {processors} workers", port, processors))
            programs.append(haproxy(directory, f"haproxy, {processors} workers", port, processors))
            report(measure(programs))
        finally:
            for program in reversed(programs):
                program.stop()
    return 0


sys.exit(main())
