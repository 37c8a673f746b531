"""Measures Hookgate beside its peers, in one run on one machine.

    python3 benches/peers/run.py [--seconds 4] [--rounds 3] [--out FILE]

Every server gets one core, and the load and the backend another. All of them proxy the same signed
request to the same backend; but for `bare pingora` and `nginx`, which check nothing, all of them
check the HMAC-SHA-256 of the body first. The figure to compare is CPU microseconds per request
(user and system time of the server / requests it answered): noise of other programs disturbs it
least. Rounds go from server to server, so that all meet the same weather; the median is told.
"""

import argparse
import contextlib
import hashlib
import hmac
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SECRET = "bench-secret"
SIZES = {"1 KiB": 1024, "16 KiB": 16 * 1024}
CONNECTIONS = 64
SERVER_CORE, LOAD_CORE = "0", "1"
TICK = os.sysconf("SC_CLK_TCK")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(port):
    end = time.monotonic() + 20
    while time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise SystemExit(f"nothing listens on port {port}")


def descendants(pid):
    found = [pid]
    for child in os.listdir("/proc"):
        if child.isdigit():
            try:
                with open(f"/proc/{child}/stat", encoding="utf-8") as file:
                    parent = int(file.read().rsplit(")", 1)[1].split()[1])
            except OSError:
                continue
            if parent == pid:
                found += descendants(int(child))
    return found


def cpu_seconds(pid):
    """User and system time of a process and its children, by the scheduler's nanoseconds."""
    total = 0
    for process in descendants(pid):
        tasks = f"/proc/{process}/task"
        for task in os.listdir(tasks):
            with open(f"{tasks}/{task}/schedstat", encoding="utf-8") as file:
                total += int(file.read().split()[0])
    return total / 1e9


def memory_mib(pid):
    total = 0
    for process in descendants(pid):
        try:
            with open(f"/proc/{process}/smaps_rollup", encoding="utf-8") as file:
                total += int(re.search(r"^Pss:\s+(\d+)", file.read(), re.M).group(1))
        except ProcessLookupError:
            continue  # it has ended since it was listed
    return total / 1024


def kill(process):
    """Ends a process and its children; it may have ended already."""
    # Named before the parent is gone: its children would not be found by it any more.
    for pid in descendants(process.pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()


def p50_and_p99(times):
    times = sorted(times)
    pick = lambda share: times[min(len(times) - 1, int(len(times) * share))]
    return pick(0.50), pick(0.99)


class Server:
    def __init__(self, name, folder, port, command, env=None):
        self.name, self.port, self.command, self.folder = name, port, command, folder
        self.env = {**os.environ, **(env or {})}
        self.process = None

    def __enter__(self):
        log = open(f"{self.folder}/{self.name.replace(' ', '-')}.log", "wb")
        core = LOAD_CORE if self.name == "backend" else SERVER_CORE
        self.process = subprocess.Popen(
            ["taskset", "-c", core, *self.command], stdout=log, stderr=log, env=self.env
        )
        wait_for(self.port)
        return self

    def __exit__(self, *_):
        kill(self.process)


def write(folder, name, text):
    path = f"{folder}/{name}"
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    return path


NGINX = """
worker_processes 1; daemon off; pid {folder}/{name}.pid; error_log /dev/stderr error;
{modules}
events {{ worker_connections 4096; }}
http {{
  access_log off; client_body_buffer_size 64k; keepalive_requests 1000000000;
  client_body_temp_path {folder}/{name}-b; proxy_temp_path {folder}/{name}-p;
  fastcgi_temp_path {folder}/{name}-f; uwsgi_temp_path {folder}/{name}-u; scgi_temp_path {folder}/{name}-s;
  {http}
}}
"""
NGINX_PROXY = """
  upstream app {{ server 127.0.0.1:{backend}; keepalive 128; keepalive_requests 1000000000; }}
  server {{ listen 127.0.0.1:{port};
    location / {{ {check} proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_set_header Host $host; }} }}
"""
NGINX_LUA_MODULES = """
load_module /usr/lib/nginx/modules/ndk_http_module.so;
load_module /usr/lib/nginx/modules/ngx_http_lua_module.so;
"""
NGINX_LUA_CHECK = """
    access_by_lua_block {{
      ngx.req.read_body()
      local body = ngx.req.get_body_data() or ""
      local mac = hmac.new("{secret}", "sha256"):final(body)
      local hex = mac:gsub(".", function(c) return string.format("%02x", c:byte()) end)
      if ngx.var.http_x_hub_signature_256 ~= "sha256=" .. hex then return ngx.exit(401) end
    }}
"""
HAPROXY = """
global
  maxconn 8192
  nbthread 1
  tune.bufsize 65536
  lua-load {folder}/check.lua
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  option http-keep-alive
  http-reuse always
frontend in
  bind 127.0.0.1:{port}
  option http-buffer-request
  http-request lua.check
  http-request deny deny_status 401 if {{ var(txn.bad) -m bool }}
  default_backend app
backend app
  server app 127.0.0.1:{backend}
"""
HAPROXY_LUA = """
local hmac = require("openssl.hmac")
core.register_action("check", {{"http-req"}}, function(txn)
  local body = txn.sf:req_body()
  local mac = hmac.new("{secret}", "sha256"):final(body)
  local hex = mac:gsub(".", function(c) return string.format("%02x", c:byte()) end)
  local given = txn.sf:req_fhdr("x-hub-signature-256")
  txn:set_var("txn.bad", given ~= "sha256=" .. hex)
end)
"""
HOOKGATE = """
server: {{listen: "127.0.0.1:{port}", threads: 1, trusted_proxies: [127.0.0.1]}}
admin: {{listen: "127.0.0.1:{admin}"}}
log: {{format: json}}
backends: {{app: {{url: "http://127.0.0.1:{backend}"}}}}
routes:
  bench:
    webhook:
      path: /hooks
      allow: [127.0.0.0/8]
      verify: {{provider: github, secrets: ["{secret}"]}}
      rate_limit: [{{by: client_ip, rate: 1000000/s}}, {{by: route, rate: 1000000/s}}]
{dedup}
    deliver: {{to: app}}
"""


def servers(folder, backend):
    def nginx(name, modules, check):
        port = free_port()
        http = NGINX_PROXY.format(backend=backend, port=port, check=check)
        if modules:
            http = 'init_by_lua_block { hmac = require("openssl.hmac") }\n' + http
        conf = NGINX.format(folder=folder, name=name.replace(" ", ""), modules=modules, http=http)
        path = write(folder, f"{name.replace(' ', '')}.conf", conf)
        return Server(name, folder, port, ["nginx", "-p", folder, "-c", path])

    def hookgate(name, dedup):
        port = free_port()
        conf = HOOKGATE.format(port=port, admin=free_port(), backend=backend, secret=SECRET, dedup=dedup)
        path = write(folder, f"{name.replace(' ', '-')}.yaml", conf)
        return Server(name, folder, port, [binary("hookgate"), "serve", "-c", path])

    write(folder, "check.lua", HAPROXY_LUA.format(secret=SECRET))
    haproxy = free_port()
    haproxy_conf = HAPROXY.format(folder=folder, port=haproxy, backend=backend)
    bare = free_port()
    return [
        Server("bare pingora", folder, bare, [binary("bare-pingora"), f"127.0.0.1:{bare}", f"127.0.0.1:{backend}"]),
        nginx("nginx", "", ""),
        nginx("nginx + lua", NGINX_LUA_MODULES, NGINX_LUA_CHECK.format(secret=SECRET)),
        Server("haproxy + lua", folder, haproxy, ["haproxy", "-f", write(folder, "haproxy.cfg", haproxy_conf)]),
        # Every request is an event of its own: each is claimed, remembered and settled.
        hookgate("hookgate", '    dedup: {key: "header:X-Event"}'),
        hookgate("hookgate, no dedup", ""),
    ]


def binary(name):
    # Servers run in folders of their own.
    folder = os.path.join(ROOT, os.environ.get("CARGO_TARGET_DIR", "target"))
    return f"{folder}/dist/{name}"


def load(server, size, seconds, folder):
    body = "x" * size
    mac = hmac.new(SECRET.encode(), body.encode(), hashlib.sha256).hexdigest()
    script = write(folder, "load.lua", f"""
local n = 0
local body = string.rep("x", {size})
local headers = {{["X-Hub-Signature-256"] = "sha256={mac}", ["Content-Type"] = "application/json"}}
function request()
  n = n + 1
  headers["X-Event"] = tostring(n) .. "-" .. {time.monotonic_ns()}
  return wrk.format("POST", "/hooks", headers, body)
end
""")
    command = ["taskset", "-c", LOAD_CORE, "wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "-s", script,
               f"http://127.0.0.1:{server.port}"]
    before = cpu_seconds(server.process.pid)
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    cpu = cpu_seconds(server.process.pid) - before
    requests = int(re.search(r"(\d+) requests in", output).group(1))
    if "Non-2xx" in output or "Socket errors" in output:
        raise SystemExit(f"{server.name}: {output}")
    return cpu / requests * 1e6, float(re.search(r"Requests/sec:\s+([\d.]+)", output).group(1))


def latency(server, size, rate, seconds, folder, status="200", cores=LOAD_CORE):
    """Milliseconds that 20 paced senders wait for an answer: p50 and p99."""
    body = "x" * size
    mac = hmac.new(SECRET.encode(), body.encode(), hashlib.sha256).hexdigest()
    path = write(folder, "body", body)
    log = f"{folder}/latency.log"
    if os.path.exists(log):
        os.remove(log)
    # The same event every time would be answered from memory, so the key changes in steps that
    # h2load can make: none. It measures the servers without dedup, and Hookgate without it.
    command = ["taskset", "-c", cores, "h2load", "--h1", "-c20", "-t1", f"--rps={rate / 20}",
               f"-D{seconds}", "-d", path, "-H", f"X-Hub-Signature-256: sha256={mac}", f"--log-file={log}",
               f"http://127.0.0.1:{server.port}/hooks"]
    subprocess.run(command, capture_output=True, text=True, check=True)
    with open(log, encoding="utf-8") as file:
        rows = [line.split("\t") for line in file]
    bad = [row for row in rows if row[1] != status]
    if bad or not rows:
        raise SystemExit(f"{server.name}: {len(bad)} of {len(rows)} requests failed")
    return p50_and_p99(int(row[2]) / 1000 for row in rows)


def machine():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        model = re.search(r"model name\s*:\s*(.*)", file.read()).group(1)
    return f"{os.cpu_count()} cores, {model}, Linux {os.uname().release.split('-')[0]}"


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--seconds", type=int, default=4)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--rate", type=int, default=2000)
    arguments.add_argument("--out")
    options = arguments.parse_args()
    for tool in ["nginx", "haproxy", "wrk", "h2load", "taskset"]:
        if not shutil.which(tool):
            raise SystemExit(f"{tool} is missing: run `make bench`")
    lines = [f"{machine()}; {time.strftime('%Y-%m-%d')}; {options.rounds} rounds of {options.seconds} s,"
             f" {CONNECTIONS} connections; latency at {options.rate} requests/s on 20 connections", ""]
    lines += ["| server | body | CPU µs/request | × bare pingora | requests/s | p50 ms | p99 ms | memory MiB |",
              "|---|---|---|---|---|---|---|---|"]
    with tempfile.TemporaryDirectory() as folder:
        backend = free_port()
        answer = f"server {{ listen 127.0.0.1:{backend}; location / {{ return 200 ok; }} }}"
        conf = NGINX.format(folder=folder, name="backend", modules="", http=answer)
        path = write(folder, "backend.conf", conf)
        with Server("backend", folder, backend, ["nginx", "-p", folder, "-c", path]):
            all_servers = servers(folder, backend)
            results = {(server.name, size): [] for server in all_servers for size in SIZES}
            rest = {}
            for round_number in range(options.rounds):
                for size_name, size in SIZES.items():
                    for server in all_servers:
                        with server:
                            load(server, size, 1, folder)
                            results[server.name, size_name].append(load(server, size, options.seconds, folder))
                            if round_number == 0:
                                # A repeated event is answered from memory; see latency().
                                with_dedup = server.name == "hookgate"
                                times = ("", "") if with_dedup else latency(server, size, options.rate, 5, folder)
                                rest[server.name, size_name] = (*times, memory_mib(server.process.pid))
                        print(f"round {round_number + 1}: {server.name}, {size_name}: "
                              f"{results[server.name, size_name][-1][0]:.1f} µs", file=sys.stderr)
            for size_name in SIZES:
                base = statistics.median(cpu for cpu, _ in results["bare pingora", size_name])
                for server in all_servers:
                    cpus = [cpu for cpu, _ in results[server.name, size_name]]
                    rates = [rate for _, rate in results[server.name, size_name]]
                    cpu = statistics.median(cpus)
                    p50, p99, memory = rest[server.name, size_name]
                    shown = lambda value: f"{value:.2f}" if value != "" else "–"
                    lines.append(f"| {server.name} | {size_name} | {cpu:.1f} ({min(cpus):.1f}–{max(cpus):.1f}) "
                                 f"| {cpu / base:.2f} | {statistics.median(rates):,.0f} | {shown(p50)} | {shown(p99)} "
                                 f"| {memory:.0f} |")
    table = "\n".join(lines)
    print(table)
    if options.out:
        write(os.path.dirname(options.out) or ".", os.path.basename(options.out), table + "\n")


if __name__ == "__main__":
    main()
