#!/usr/bin/env python3
"""One of three brokers is stopped for a while while a routed producer sends keyed rows through a router.

Kept if what is written to the partitions of the other two brokers stays at 80 % of what it was.
"""

import argparse
import subprocess
import sys
import threading
import time

from kit import REPOSITORY, binary, cluster, kafka, keylane, leaders, verdict

ROWS = REPOSITORY / "bench" / "data" / "flights-2013-01.csv.gz"
SETTLE_SECONDS = 5


class Follower:
    """Counts the records of one partition as they can be read."""

    def __init__(self, address: str, partition: int):
        command = [str(binary("keylane")), "consume", "t", "--partition", str(partition), "--follow", "--connect", address]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.records = 0
        threading.Thread(target=self._count, daemon=True).start()

    def _count(self) -> None:
        for _ in self.process.stdout:
            self.records += 1

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()


def main() -> bool:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stopped", type=int, default=60, help="for how many seconds the broker is stopped")
    parser.add_argument("--before", type=int, default=15, help="for how many seconds the rate before is measured")
    parser.add_argument("--rate", type=int, default=900, help="rows a second")
    arguments = parser.parse_args()
    with cluster(3) as running:
        router = running.router()
        keylane(router, "topic", "create", "t", "--partitions", "6")
        led = leaders(running.brokers[0], "t")
        followers = [Follower(kafka(router), index) for index, leader in led.items() if leader != 3]
        command = [str(binary("keylane")), "produce", "t", str(ROWS), "--key", "tailnum", "--repeat", "100"]
        command += ["--rate", str(arguments.rate), "--connect", kafka(router)]
        producer = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            time.sleep(SETTLE_SECONDS)
            before = rate(followers, arguments.before)
            running.brokers[2].freeze()
            during = rate(followers, arguments.stopped)
            running.brokers[2].thaw()
        finally:
            producer.terminate()
            producer.wait()
            for follower in followers:
                follower.stop()
    print(f"other brokers: {before:.0f}/s before, {during:.0f}/s while one is stopped ({during / before:.0%})")
    return verdict("a routed producer keeps 80 % of its rate on the other brokers", during >= 0.8 * before)


def rate(followers: list[Follower], seconds: int) -> float:
    begun, first = time.monotonic(), sum(follower.records for follower in followers)
    time.sleep(seconds)
    return (sum(follower.records for follower in followers) - first) / (time.monotonic() - begun)


if __name__ == "__main__":
    sys.exit(not main())
