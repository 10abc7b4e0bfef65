#!/usr/bin/env python3
"""Ten thousand connections on which nothing happens, and a router that starts again.

Kept if they cost a router at most 200 MB, all of them still answer, and a router that was killed serves a second after
it was started.
"""

import argparse
import subprocess
import sys
import time

from kit import Cluster, Server, cluster, connect, dial, exchange, frame, kafka, keylane, verdict

LIMIT_BYTES = 200_000_000
# A process may have 20,000 open files here: the load is its own processes, each with some of the connections.
PER_PROCESS = 2500
API_VERSIONS = frame(18, 0, b"")


def main() -> bool:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--connections", type=int, default=10_000)
    parser.add_argument("--hold", metavar="COUNT", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--at", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.hold:
        return hold(arguments.at, arguments.hold)
    with cluster(1) as running:
        count = arguments.connections
        more = ["--connections-max", str(count + 100), "--connections-per-address-max", str(count + 100)]
        router = running.router(*more)
        keylane(router, "topic", "create", "t", "--partitions", "1")
        before = router.memory_bytes()
        counts = [min(PER_PROCESS, count - start) for start in range(0, count, PER_PROCESS)]
        holders = [holder(kafka(router), each) for each in counts]
        for each in holders:
            assert each.stdout.readline() == "held\n"
        time.sleep(2)
        idle = router.memory_bytes()
        print(f"{count} connections: {(idle - before) / 1e6:.1f} MB, {(idle - before) / count:.0f} bytes each; {idle / 1e6:.1f} MB in all")
        keylane(router, "topic", "describe", "t")
        for each in holders:
            each.stdin.write("\n")
            each.stdin.flush()
        is_kept = verdict("all of them answer again", all(each.stdout.readline() == "answered\n" for each in holders))
        print(f"after every one has asked something: {router.memory_bytes() / 1e6:.1f} MB")
        for each in holders:
            each.stdin.close()
            each.wait(30)
        is_kept &= verdict("at most 200 MB", idle - before <= LIMIT_BYTES)
        return restart(running, router) and is_kept


def restart(running: Cluster, router: Server) -> bool:
    address = kafka(router)
    router.kill()
    started = time.monotonic()
    again = running.router("--listen", address)
    ready = time.monotonic() - started
    keylane(again, "topic", "describe", "t")
    with connect(again) as stream:
        exchange(stream, API_VERSIONS)
    served = time.monotonic() - started
    print(f"a router that was killed: ready after {ready:.2f} s, has served after {served:.2f} s")
    return verdict("a router serves within a second", served < 1)


def holder(address: str, count: int) -> subprocess.Popen:
    command = [sys.executable, __file__, "--hold", str(count), "--at", address]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def hold(address: str, count: int) -> bool:
    """Opens connections and holds them; asks something on each when told to by a line."""
    streams = [dial(address) for _ in range(count)]
    for stream in streams:
        exchange(stream, API_VERSIONS)
    print("held", flush=True)
    sys.stdin.readline()
    for stream in streams:
        exchange(stream, API_VERSIONS)
    print("answered", flush=True)
    sys.stdin.readline()
    return True


if __name__ == "__main__":
    sys.exit(not main())
