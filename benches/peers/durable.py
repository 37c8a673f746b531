"""Measures events that are on disk before they are acknowledged, in one run on one machine.

    python3 benches/peers/durable.py [--seconds 4] [--parts intake,million] [--out FILE]

Hookgate beside qhook (SQLite) and the usual pipeline made by hand (Express, BullMQ, Redis with
`appendfsync always`). All of them check the HMAC-SHA-256 of the body. Servers have both cores, and so
has the load: a durable gateway waits for the disk, not for a core. Where only intake is measured,
nothing is delivered: the backend of Hookgate and qhook is down, and the pipeline has no worker.
"""

import argparse
import asyncio
import hashlib
import hmac
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request

from run import (NGINX, ROOT, SECRET, SIZES, binary, cpu_seconds, free_port, kill, latency, machine,
                 memory_mib, p50_and_p99, wait_for, write)

SENDERS = [1, 16, 64, 256]
MODERATE_RATE = 200
MILLION = 1_000_000
PARTS = ["idle", "intake", "delivered", "latency", "million"]

HOOKGATE = """
server: {{listen: 127.0.0.1:{port}, limits: {{connections_per_address: 2000}}}}
admin: {{listen: 127.0.0.1:{admin}}}
log: {{format: json}}
store: {{path: {data}, depth_max: 2000000}}
backends: {{app: {{url: "http://127.0.0.1:{backend}", concurrency: 64, breaker: {{failures: 5, open: 2s}}}}}}
routes:
  bench:
    webhook: {{path: /hooks, verify: {{provider: github, secrets: ["{secret}"]}}}}
    dedup: {{key: "header:X-Event"}}
    deliver: {{to: app, mode: queue}}
"""

IDLE = """
server: {{listen: 127.0.0.1:{port}}}
admin: {{listen: off}}
store: {{path: {data}}}
backends: {{app: {{url: "http://127.0.0.1:{backend}"}}}}
routes:
"""

QHOOK = """
database: {{driver: sqlite, url: "sqlite://{data}/qhook.db?mode=rwc"}}
server: {{port: {port}, allow_private_urls: true}}
sources:
  bench: {{type: webhook, verify: github, secret: {secret}}}
handlers:
  app: {{source: bench, events: ["*"], url: "http://127.0.0.1:{backend}/hooks"}}
"""

REDIS = """
port {port}
bind 127.0.0.1
dir {data}
save ""
appendonly yes
appendfsync always
"""


class Group:
    """The processes of one server."""

    def __init__(self, name, port, path, commands, folder, admin=None):
        self.name, self.port, self.path, self.commands = name, port, path, commands
        self.folder, self.admin, self.processes = folder, admin, []

    def __enter__(self):
        log = open(f"{self.folder}/{self.name.replace(' ', '-')}.log", "ab")
        for port, command in self.commands:
            self.processes.append(subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder))
            wait_for(port)
        return self

    def __exit__(self, *_):
        for process in self.processes:
            kill(process)
        self.processes = []

    def cpu(self):
        return sum(cpu_seconds(process.pid) for process in self.processes)

    def metric(self, name):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/metrics") as answer:
            lines = answer.read().decode().splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if re.match(rf"{name}[ {{]", line))


def groups(disk, backend, delivers):
    """Fresh servers. Each has a folder of its own on the disk that is measured."""
    def folder():
        return tempfile.mkdtemp(dir=disk)

    def hookgate():
        data, port, admin = folder(), free_port(), free_port()
        target = backend if delivers else free_port()
        conf = HOOKGATE.format(port=port, admin=admin, data=f"{data}/data", backend=target, secret=SECRET)
        command = [binary("hookgate"), "serve", "-c", write(data, "hookgate.yaml", conf)]
        return Group("hookgate", port, "/hooks", [(port, command)], data, admin)

    def qhook():
        data, port = folder(), free_port()
        target = backend if delivers else free_port()
        conf = QHOOK.format(data=data, port=port, backend=target, secret=SECRET)
        command = ["qhook", "start", "--config", write(data, "qhook.yaml", conf)]
        return Group("qhook 0.6.1", port, "/webhooks/bench", [(port, command)], data)

    def pipeline():
        data, port, redis = folder(), free_port(), free_port()
        node = ["node", f"{ROOT}/benches/peers/pipeline/server.js", str(port), str(redis), SECRET]
        if delivers:
            node.append(f"http://127.0.0.1:{backend}/hooks")
        server = ["redis-server", write(data, "redis.conf", REDIS.format(port=redis, data=data))]
        commands = [(redis, server), (port, node)]
        return Group("express + bullmq", port, "/hooks", commands, data)

    return [hookgate, qhook, pipeline]


def signed(size):
    body = json.dumps({"type": "push", "text": "x" * (size - 30)})
    return body, hmac.new(SECRET.encode(), body.encode(), hashlib.sha256).hexdigest()


def load(group, size, senders, seconds):
    """Sends ever new events; those acknowledged, and the seconds it took. qhook refuses some."""
    body, mac = signed(size)
    script = write(group.folder, "load.lua", f"""
local n = 0
local body = [[{body}]]
local headers = {{["X-Hub-Signature-256"] = "sha256={mac}", ["Content-Type"] = "application/json",
                  ["X-GitHub-Event"] = "push"}}
function request()
  n = n + 1
  headers["X-Event"] = n .. "-{time.monotonic_ns()}"
  headers["X-GitHub-Delivery"] = headers["X-Event"]
  return wrk.format("POST", "{group.path}", headers, body)
end
""")
    command = ["wrk", "-t1", f"-c{senders}", f"-d{seconds}s", "--timeout", "30s", "-s", script,
               f"http://127.0.0.1:{group.port}"]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if "Socket errors" in output:
        raise SystemExit(f"{group.name}: {output}")
    count, took = re.search(r"(\d+) requests in ([\d.]+)s", output).groups()
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", output)
    return int(count) - (int(refused.group(1)) if refused else 0), float(took)


def syncs_per_second(disk, seconds):
    """What the disk does by itself: 4 KiB written and synced, one after another."""
    with tempfile.NamedTemporaryFile(dir=disk) as file:
        count, end = 0, time.monotonic() + seconds
        while time.monotonic() < end:
            os.pwrite(file.fileno(), b"x" * 4096, count % 1024 * 4096)
            os.fdatasync(file.fileno())
            count += 1
    return count / seconds


def intake(disk, backend, seconds):
    lines = ["| server | body | senders | durable acks/s | CPU µs/event | × fdatasync/s |",
             "|---|---|---|---|---|---|"]
    for name, size in SIZES.items():
        for senders in SENDERS:
            raw = syncs_per_second(disk, 1)
            for make in groups(disk, backend, delivers=False):
                with make() as group:
                    load(group, size, senders, 1)
                    before = group.cpu()
                    count, took = load(group, size, senders, seconds)
                    cpu = (group.cpu() - before) / max(count, 1) * 1e6
                rate = count / took
                lines.append(f"| {group.name} | {name} | {senders} | {rate:,.0f} | {cpu:.0f} | {rate / raw:.2f} |")
                print(lines[-1], file=sys.stderr)
                shutil.rmtree(group.folder)
    return lines


def delivered(status):
    with urllib.request.urlopen(status) as answer:
        return int(answer.read().split()[9])


def end_to_end(disk, backend, status, seconds):
    """Events that have reached the backend, from the first sent to the last delivered."""
    lines = ["| server | body | delivered/s | CPU µs/event |", "|---|---|---|---|"]
    for name, size in SIZES.items():
        for make in groups(disk, backend, delivers=True):
            with make() as group:
                first, before, started = delivered(status), group.cpu(), time.monotonic()
                count, _ = load(group, size, 64, seconds)
                deadline = time.monotonic() + 60
                arrived = lambda: delivered(status) - first
                while arrived() < count and time.monotonic() < deadline:
                    time.sleep(0.05)
                took, cpu, done = time.monotonic() - started, group.cpu() - before, arrived()
            lines.append(f"| {group.name} | {name} | {done / took:,.0f} | {cpu / max(done, 1) * 1e6:.0f} |")
            print(lines[-1], file=sys.stderr)
            shutil.rmtree(group.folder)
    return lines


class Arrivals(asyncio.Protocol):
    """A backend that answers 200 and notes how long each event was under way."""

    times = []

    def connection_made(self, transport):
        self.transport, self.buffer = transport, b""

    def data_received(self, data):
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = self.buffer[:end].lower()
            length = int(re.search(rb"content-length: (\d+)", head).group(1))
            if len(self.buffer) < end + 4 + length:
                return
            self.buffer = self.buffer[end + 4 + length:]
            sent = int(re.search(rb"x-sent: (\d+)", head).group(1))
            self.times.append((time.monotonic_ns() - sent) / 1e6)
            self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")


async def send_paced(group, rate, seconds):
    body, mac = signed(1024)
    reader, writer = await asyncio.open_connection("127.0.0.1", group.port)
    start, total = time.monotonic(), int(rate * seconds)
    for number in range(total):
        await asyncio.sleep(max(0, start + number / rate - time.monotonic()))
        sent = time.monotonic_ns()
        writer.write((f"POST {group.path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                      f"X-GitHub-Event: push\r\nX-GitHub-Delivery: {sent}\r\nX-Event: e-{sent}\r\nX-Sent: {sent}\r\n"
                      f"X-Hub-Signature-256: sha256={mac}\r\nContent-Length: {len(body)}\r\n\r\n{body}").encode())
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        if not head.startswith(b"http/1.1 2"):
            raise SystemExit(f"{group.name}: {head}")
        if length := re.search(rb"content-length: (\d+)", head):
            await reader.readexactly(int(length.group(1)))
        if b"connection: close" in head:
            writer.close()
            reader, writer = await asyncio.open_connection("127.0.0.1", group.port)
    return total


async def received_to_delivered(disk, seconds):
    lines = ["| server | p50 ms | p99 ms |", "|---|---|---|"]
    loop = asyncio.get_running_loop()
    backend = await loop.create_server(Arrivals, "127.0.0.1", 0)
    port = backend.sockets[0].getsockname()[1]
    # qhook does not pass the headers on, so nobody can say when its events were sent.
    hookgate, _, pipeline = groups(disk, port, delivers=True)
    for make in (hookgate, pipeline):
        Arrivals.times.clear()
        with make() as group:
            total = await send_paced(group, MODERATE_RATE, seconds)
            deadline = time.monotonic() + 20
            while len(Arrivals.times) < total and time.monotonic() < deadline:
                await asyncio.sleep(0.05)
        p50, p99 = p50_and_p99(Arrivals.times)
        lines.append(f"| {group.name} | {p50:.2f} | {p99:.2f} |")
        print(lines[-1], file=sys.stderr)
        shutil.rmtree(group.folder)
    backend.close()
    return lines


def idle(disk, seconds):
    """The share of a core that ten routes and an empty queue take."""
    data, port = tempfile.mkdtemp(dir=disk), free_port()
    conf = IDLE.format(port=port, data=f"{data}/data", backend=free_port())
    for number in range(10):
        conf += f"  r{number}: {{webhook: {{path: /r{number}}}, deliver: {{to: app, mode: queue}}}}\n"
    command = [binary("hookgate"), "serve", "-c", write(data, "hookgate.yaml", conf)]
    with Group("hookgate", port, "/r0", [(port, command)], data) as group:
        time.sleep(3)
        before = group.cpu()
        time.sleep(seconds)
        share = (group.cpu() - before) / seconds
    shutil.rmtree(data)
    return f"Idle, ten routes and an empty queue: {share:.2%} of a core over {seconds} s."


def million(disk):
    """A backend that is down while a million events come, a kill, and the drain."""
    backend = free_port()
    group = groups(disk, backend, delivers=True)[0]()
    conf = f"{group.folder}/hookgate.yaml"
    with open(conf, encoding="utf-8") as file:
        text = file.read()
    # Without a key, so that a paced sender can repeat one event.
    write(group.folder, "hookgate.yaml", text.replace('    dedup: {key: "header:X-Event"}\n', ""))
    everywhere = f"0-{os.cpu_count() - 1}"
    waits = lambda: latency(group, 1024, 500, 10, group.folder, "202", everywhere)
    lines = []
    with group:
        empty = waits()
        while (depth := group.metric("hookgate_queue_depth")) < MILLION:
            load(group, 1024, 256, max(1, min(30, int((MILLION - depth) / 4000))))
        full, memory = waits(), memory_mib(group.processes[0].pid)
        depth = int(group.metric("hookgate_queue_depth"))
        kill(group.processes[0])
    started = time.monotonic()
    with Nginx(disk, backend) as status, group:
        ready_at = f"http://127.0.0.1:{group.admin}/readyz"
        while True:
            try:
                urllib.request.urlopen(ready_at).close()
                break
            except OSError:
                time.sleep(0.005)
        ready = time.monotonic() - started
        while group.metric("hookgate_queue_depth") > depth * 0.99:
            time.sleep(0.05)
        one, at = delivered(status), time.monotonic()
        time.sleep(20)
        rate = (delivered(status) - one) / (time.monotonic() - at)
        started_drain = at - started
    shutil.rmtree(group.folder)
    lines.append(f"{depth:,} events of 1 KiB queued, the backend down: {memory:.0f} MiB of memory (page cache of the "
                 f"store 64 MiB among it); intake p50 / p99 at 500/s {full[0]:.2f} / {full[1]:.2f} ms, with an empty "
                 f"queue {empty[0]:.2f} / {empty[1]:.2f} ms; ready {ready:.2f} s after SIGKILL; 1 % delivered "
                 f"{started_drain:.1f} s after the start; {rate:,.0f} deliveries/s.")
    print(lines[-1], file=sys.stderr)
    return lines


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--seconds", type=int, default=4)
    arguments.add_argument("--parts", default=",".join(PARTS))
    arguments.add_argument("--out")
    options = arguments.parse_args()
    for tool in ["nginx", "wrk", "h2load", "node", "redis-server", "qhook"]:
        if not shutil.which(tool):
            raise SystemExit(f"{tool} is missing: run `make bench`")
    lines = [f"{machine()}; {time.strftime('%Y-%m-%d')}; {options.seconds} s for each figure", ""]
    # On the disk of the project: a file system in memory would flatter everybody.
    with tempfile.TemporaryDirectory(dir=f"{ROOT}/target") as disk:
        parts = options.parts.split(",")
        lines += [f"The disk: {syncs_per_second(disk, 3):,.0f} fdatasync/s of 4 KiB.", ""]
        if "idle" in parts:
            lines += [idle(disk, 20), ""]
        backend = free_port()
        with Nginx(disk, backend) as status:
            if "intake" in parts:
                lines += intake(disk, backend, options.seconds) + [""]
            if "delivered" in parts:
                lines += end_to_end(disk, backend, status, options.seconds) + [""]
        if "latency" in parts:
            lines += [f"From received to delivered, at {MODERATE_RATE} events/s:", ""]
            lines += asyncio.run(received_to_delivered(disk, 10)) + [""]
        if "million" in parts:
            lines += million(disk)
    table = "\n".join(lines)
    print(table)
    if options.out:
        write(os.path.dirname(options.out) or ".", os.path.basename(options.out), table + "\n")


class Nginx:
    """A trivial backend that counts what it was asked."""

    def __init__(self, disk, port):
        self.folder, self.port, self.process = tempfile.mkdtemp(dir=disk), port, None

    def __enter__(self):
        status = free_port()
        http = (f"server {{ listen 127.0.0.1:{self.port} backlog=1024;"
                f" location / {{ return 200 ok; }} }}"
                f" server {{ listen 127.0.0.1:{status}; location / {{ stub_status; }} }}")
        conf = write(self.folder, "nginx.conf",
                     NGINX.format(folder=self.folder, name="backend", modules="", http=http))
        self.process = subprocess.Popen(["nginx", "-p", self.folder, "-c", conf])
        wait_for(self.port)
        return f"http://127.0.0.1:{status}/"

    def __exit__(self, *_):
        kill(self.process)


if __name__ == "__main__":
    main()
