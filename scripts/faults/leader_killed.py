#!/usr/bin/env python3
"""The leading one of three controllers is killed with -9, again and again.

Kept if a topic can be created through a router within ten seconds each time.
"""

import argparse
import json
import subprocess
import sys
import time

from kit import Cluster, Server, binary, cluster, keylane, verdict

LIMIT_SECONDS = 10


def main() -> bool:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with cluster(3) as running:
        router = running.router()
        taken = [one_round(running, router, number) for number in range(arguments.rounds)]
        print("seconds until a topic was created: " + ", ".join(f"{each:.1f}" for each in taken))
        return verdict("a topic is created within ten seconds", max(taken) <= LIMIT_SECONDS)


def one_round(running: Cluster, router: Server, number: int) -> float:
    leader = leading(running)
    running.brokers[leader].kill()
    killed = time.monotonic()
    while True:
        try:
            keylane(router, "topic", "create", f"t-{number}", "--partitions", "1")
            break
        except subprocess.CalledProcessError:
            # The answer to one before may have been lost.
            if f"t-{number}" in keylane(router, "topic", "list"):
                break
    taken = time.monotonic() - killed
    running.brokers[leader] = running.broker(leader)
    running.brokers[leader].wait_until_ready()
    return taken


def leading(running: Cluster) -> int:
    """Returns the place of the broker that leads the controllers."""
    command = [str(binary("keylane")), "cluster", "status", "--brokers", ",".join(running.internal), "--json"]
    status = subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE, timeout=60).stdout
    return json.loads(status)["controller"]["id"] - 1


if __name__ == "__main__":
    sys.exit(not main())
