"""Measures polling: items from a page to the queue on disk, and sources that have nothing new.

    python3 benches/peers/poll.py [--items 100000] [--parts items,idle] [--out FILE]

Hookgate beside what is usually written by hand (a Python loop with `requests` that posts each item)
and dlt's rest_api source. All of them read the same list, 1 KiB an item, from nginx. Hookgate has
every item on disk, known by its id, and its backend is down; the loop posts to a trivial backend
(nginx) and keeps nothing; dlt only reads, and neither normalises nor loads.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time

from durable import Group, Nginx
from log import ask
from run import NGINX, ROOT, binary, free_port, kill, machine, wait_for, write

ITEM_BYTES = 1024
PAGES = [100, 1000]
SOURCES = 1000
INTERVAL = 60
PYTHON = f"{ROOT}/.venv-peers/bin/python"

HOOKGATE = """
server: {{listen: 127.0.0.1:{port}}}
admin: {{listen: 127.0.0.1:{admin}}}
log: {{format: json}}
store: {{path: {data}, depth_max: 2000000}}
backends: {{app: {{url: "http://127.0.0.1:{backend}", breaker: {{failures: 5, open: 60s}}}}}}
routes:
"""
LISTED = """
  items:
    poll:
      schedule: {{cron: "0 0 1 1 *", jitter: 0s, timeout: 10m}}
      request: "{url}/items-{size}/"
      items: "$[*]"
      pagination: {{type: page, param: page, size: {size}, stop: short, max_pages: 10000}}
      cursor: {{start: earliest}}
    deliver: {{to: app}}
"""
IDLE = """
  source-{number}:
    poll: {{schedule: {{interval: {interval}s}}, request: "{url}/empty", items: "$[*]"}}
    deliver: {{to: app}}
"""

LOOP = """
import sys, requests
url, backend, size = sys.argv[1], sys.argv[2], int(sys.argv[3])
session, page = requests.Session(), 1
while True:
    items = session.get(f"{url}/items-{size}/", params={"page": page}).json()
    for item in items:
        session.post(backend, json=item).raise_for_status()
    if len(items) < size:
        break
    page += 1
"""
DLT = """
import os, sys
os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
from dlt.sources.rest_api import rest_api_source
url, size = sys.argv[1], sys.argv[3]
source = rest_api_source({
    "client": {"base_url": url},
    "resources": [{"name": "items", "endpoint": {
        "path": f"items-{size}/",
        "paginator": {"type": "page_number", "base_page": 1, "page_param": "page",
                      "total_path": None, "stop_after_empty_page": True},
    }}],
})
print(sum(1 for _ in source.resources["items"]))
"""


class Provider:
    """nginx with lists on its disk: pages of so many items, and an empty list that never changes."""

    def __init__(self, disk, items):
        self.folder, self.port, self.process = tempfile.mkdtemp(dir=disk), free_port(), None
        # Its worker is another user.
        for folder in (disk, self.folder):
            os.chmod(folder, 0o755)
        for size in PAGES:
            os.mkdir(f"{self.folder}/items-{size}")
            for page in range(items // size + 1):
                rows = [] if page == items // size else range(page * size, (page + 1) * size)
                text = json.dumps([item(number) for number in rows])
                write(f"{self.folder}/items-{size}", f"{page + 1}.json", text)
        write(self.folder, "empty.json", "[]")

    def __enter__(self):
        lists = " ".join(f"location /items-{size}/ {{ try_files /items-{size}/$arg_page.json =404; }}"
                         for size in PAGES)
        http = (f"server {{ listen 127.0.0.1:{self.port} backlog=1024; root {self.folder};"
                f" default_type application/json; location = /empty {{ try_files /empty.json =404; }}"
                f" {lists} }}")
        conf = write(self.folder, "nginx.conf",
                     NGINX.format(folder=self.folder, name="provider", modules="", http=http))
        self.process = subprocess.Popen(["nginx", "-p", self.folder, "-c", conf])
        wait_for(self.port)
        return f"http://127.0.0.1:{self.port}"

    def __exit__(self, *_):
        kill(self.process)


def item(number):
    row = {"id": number, "name": f"item {number}", "text": ""}
    row["text"] = "x" * (ITEM_BYTES - len(json.dumps(row)))
    return row


def gateway(disk, routes):
    folder, port, admin = tempfile.mkdtemp(dir=disk), free_port(), free_port()
    head = HOOKGATE.format(port=port, admin=admin, data=f"{folder}/data", backend=free_port())
    command = [binary("hookgate"), "serve", "-c", write(folder, "hookgate.yaml", head + routes)]
    return Group("hookgate", port, "/", [(port, command)], folder, admin)


def by_hookgate(disk, url, size, items):
    with gateway(disk, LISTED.format(url=url, size=size)) as group:
        cpu, started = group.cpu(), time.monotonic()
        ask(group, "/sources/items/run", {})
        while group.metric("hookgate_polls_total") == 0:
            time.sleep(0.02)
        took, cpu = time.monotonic() - started, group.cpu() - cpu
        found = group.metric("hookgate_poll_items_total")
        if found != items:
            raise SystemExit(f"{found} of {items} items were found")
    return items / took, cpu / items


def by_script(script, items, *arguments):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.monotonic()
    subprocess.run([PYTHON, "-c", script, *map(str, arguments)], check=True, stdout=subprocess.DEVNULL)
    took = time.monotonic() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return items / took, cpu / items


def table_of_items(disk, items):
    lines = ["| reader | page | items/s | CPU µs/item |", "|---|---|---|---|"]
    # What takes long gets fewer: these are figures of an item.
    fewer = max(items // 10 // max(PAGES), 1) * max(PAGES)
    backend = free_port()
    with Provider(disk, items) as url, Provider(disk, fewer) as short, Nginx(disk, backend):
        for size in PAGES:
            readers = [
                ("hookgate", lambda: by_hookgate(disk, url, size, items)),
                ("loop with `requests`",
                 lambda: by_script(LOOP, fewer, short, f"http://127.0.0.1:{backend}/", size)),
                ("dlt 1.31.0, reading only", lambda: by_script(DLT, items, url, "-", size)),
            ]
            for name, read in readers:
                rate, cpu = read()
                lines.append(f"| {name} | {size} | {rate:,.0f} | {cpu * 1e6:,.0f} |")
                print(lines[-1], file=sys.stderr)
    return lines


def idle(disk):
    with Provider(disk, 0) as url:
        routes = "".join(IDLE.format(number=number, url=url, interval=INTERVAL)
                         for number in range(SOURCES))
        with gateway(disk, routes) as group:
            # The first polls are spread over an interval, and learn that there is nothing.
            time.sleep(INTERVAL * 1.2)
            polls, cpu = group.metric("hookgate_polls_total"), group.cpu()
            time.sleep(INTERVAL)
            polls, cpu = group.metric("hookgate_polls_total") - polls, group.cpu() - cpu
    share = 100 * cpu / INTERVAL
    return [f"{SOURCES:,} sources that have nothing new, asked every {INTERVAL} s: {polls:,.0f} polls, "
            f"{share:.2f} % of a core, {cpu / polls * 1e6:,.0f} µs of CPU a poll."]


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--items", type=int, default=100_000)
    arguments.add_argument("--parts", default="items,idle")
    arguments.add_argument("--out")
    options = arguments.parse_args()
    if options.items % max(PAGES):
        raise SystemExit(f"--items must be a multiple of {max(PAGES)}")
    lines = [f"{machine()}; {time.strftime('%Y-%m-%d')}; {options.items:,} items", ""]
    with tempfile.TemporaryDirectory(dir=f"{ROOT}/target") as disk:
        if "items" in options.parts:
            lines += table_of_items(disk, options.items) + [""]
        if "idle" in options.parts:
            lines += idle(disk)
    print("\n".join(lines))
    if options.out:
        write(os.path.dirname(options.out) or ".", os.path.basename(options.out), "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
