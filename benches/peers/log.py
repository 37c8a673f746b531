"""Measures the log of events: a million of them, looked through and replayed while others come in.

    python3 benches/peers/log.py [--events 1000000] [--replayed 100000] [--out FILE]

Hookgate alone, on the disk of the project; a trivial backend (nginx) takes what is delivered.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
import urllib.parse
import urllib.request

from durable import Nginx, groups, load, ROOT
from run import free_port, latency, machine, p50_and_p99, write

LOOKS = 40
RATE = 2000
# What the log may hold when nearly all of it is forgotten.
SMALL = "{delivered: 16MiB, attempts: 16MiB}"


def ask(group, path, body=None):
    headers = {"Hookgate-Admin": "1"}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{group.admin}/api/v1{path}", data, headers)
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def look(group, query):
    """Milliseconds for a page of 50, and how many events stood on it."""
    times, found = [], 0
    for _ in range(LOOKS):
        started = time.monotonic()
        found = len(ask(group, f"/events?{urllib.parse.urlencode(query)}")["events"])
        times.append((time.monotonic() - started) * 1000)
        time.sleep(0.01)  # the API answers 200 requests a second
    return *p50_and_p99(times), found


def refuse(group, count):
    for _ in range(count):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{group.port}/hooks", b"{}")
        except urllib.error.HTTPError:
            pass


def kept(group):
    return ask(group, "/replays", {"filter": {}, "preview": True})["found"]


def forgetting(group, waits):
    """Intake while nearly everything in the log is forgotten: there is too much of it."""
    conf = f"{group.folder}/hookgate.yaml"
    with open(conf, encoding="utf-8") as file:
        text = file.read()
    write(group.folder, "hookgate.yaml", text.replace("store: {", f"store: {{keep_bytes: {SMALL}, "))
    with group:
        time.sleep(3)  # what there is of each class is looked at once
        before, bytes_before = kept(group), group.metric("hookgate_store_bytes")
        during = waits()
        left = kept(group)
    write(group.folder, "hookgate.yaml", text)
    with group:
        time.sleep(3)
        after = waits()
        bytes_after = group.metric("hookgate_store_bytes")
    return [f"While the log is forgotten, {before - left:,} events of {before:,} in that time: "
            f"p50 / p99 {during[0]:.2f} / {during[1]:.2f} ms; without {after[0]:.2f} / {after[1]:.2f} ms. "
            f"The files went from {bytes_before / 2**20:,.0f} to {bytes_after / 2**20:,.0f} MiB."]


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--events", type=int, default=1_000_000)
    arguments.add_argument("--replayed", type=int, default=100_000)
    arguments.add_argument("--out")
    options = arguments.parse_args()
    everywhere = f"0-{os.cpu_count() - 1}"
    lines = [f"{machine()}; {time.strftime('%Y-%m-%d')}", ""]
    with tempfile.TemporaryDirectory(dir=f"{ROOT}/target") as disk:
        backend = free_port()
        with Nginx(disk, backend):
            group = groups(disk, backend, True)[0]()
            conf = f"{group.folder}/hookgate.yaml"
            with open(conf, encoding="utf-8") as file:
                text = file.read()
            # Without a key, so that a paced sender can repeat one event.
            write(group.folder, "hookgate.yaml", text.replace('    dedup: {key: "header:X-Event"}\n', ""))
            with group:
                refuse(group, 300)
                while group.metric("hookgate_deliveries_queued_total") < options.events:
                    left = options.events - group.metric("hookgate_deliveries_queued_total")
                    load(group, 1024, 256, max(1, min(30, int(left / 4000))))
                while group.metric("hookgate_queue_depth") > 0:
                    time.sleep(0.2)
                refuse(group, 300)
                time.sleep(1)
                events = ask(group, "/replays", {"filter": {}, "preview": True})["found"]
                lines += [f"{events:,} events of 1 KiB in the log. A page of 50:", "",
                          "| filter | on the page | p50 ms | p99 ms |", "|---|---|---|---|"]
                newest = ask(group, "/events?limit=1&verdict=accepted")["events"][0]
                for name, query in [
                    ("none", {}),
                    ("route", {"route": "bench"}),
                    ("a route that has none", {"route": "other"}),
                    ("refused", {"verdict": "refused"}),
                    ("reason", {"reason": "signature_missing"}),
                    ("state delivered", {"state": "delivered"}),
                    ("state dead", {"state": "dead"}),
                    ("state pending", {"state": "pending"}),
                    ("backend", {"backend": "app"}),
                    ("a backend that has none", {"backend": "other"}),
                    ("type", {"type": "nothing"}),
                    ("client", {"client": "127.0.0.1"}),
                    ("a client that has none", {"client": "192.0.2.1"}),
                    ("provider's id", {"provider_event_id": "nothing"}),
                    ("since a minute", {"since": "1m"}),
                    ("until an hour ago", {"until": "1h"}),
                    ("until the last came", {"until": newest["received_at"]}),
                    ("a text that is nowhere (a look through 20,000)", {"text": "nowhere"}),
                ]:
                    p50, p99, found = look(group, query)
                    lines.append(f"| {name} | {found} | {p50:.1f} | {p99:.1f} |")
                    print(lines[-1], file=sys.stderr)
                waits = lambda: latency(group, 1024, 500, 10, group.folder, "202", everywhere)
                time.sleep(5)  # the log ahead is moved into the file
                before = waits()
                new = {"filter": {"state": "delivered"}, "rate": RATE}
                replay = ask(group, "/replays", new)
                time.sleep(1)
                during = waits()
                done = ask(group, f"/replays/{replay['id']}")
                lines += ["", f"Intake at 500/s: p50 / p99 {before[0]:.2f} / {before[1]:.2f} ms; while a bulk "
                          f"replay goes on at {RATE}/s {during[0]:.2f} / {during[1]:.2f} ms "
                          f"({done['events']:,} events replayed by then)."]
                started = time.monotonic()
                while done["events"] < options.replayed and done["state"] == "running":
                    time.sleep(0.5)
                    done = ask(group, f"/replays/{replay['id']}")
                ask(group, f"/replays/{replay['id']}/cancel", {})
                lines.append(f"{done['events']:,} events were replayed {time.monotonic() - started:.0f} s later, "
                             f"{done['deliveries']:,} deliveries made of them.")
            lines += forgetting(group, waits)
            shutil.rmtree(group.folder)
    table = "\n".join(lines)
    print(table)
    if options.out:
        write(os.path.dirname(options.out) or ".", os.path.basename(options.out), table + "\n")


if __name__ == "__main__":
    main()
