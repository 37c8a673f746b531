"""Loads the counting build of Hookgate for `make dist`, as a proxy and as a queue, and ends it in peace:
only then it writes what it has counted."""

import signal
import tempfile

import durable
import run

SECONDS = 6


def main():
    end = lambda process: (process.send_signal(signal.SIGTERM), process.wait())
    run.kill = durable.kill = end
    with tempfile.TemporaryDirectory() as folder:
        backend = run.free_port()
        with durable.Nginx(folder, backend):
            for server in run.servers(folder, backend):
                if server.name.startswith("hookgate"):
                    for size in run.SIZES.values():
                        with server:
                            run.load(server, size, SECONDS, folder)
            with durable.groups(folder, backend, True)[0]() as group:
                durable.load(group, 1024, 64, SECONDS)


if __name__ == "__main__":
    main()
