#!/usr/bin/env python3
"""One of three brokers is stopped for a minute while clients send to all partitions through a router.

Kept if each client keeps 80 % of its rate on the partitions of the other two brokers, and the third's come back.
"""

import argparse
import pathlib
import sys
import time

from kit import Steady, cluster, keylane, leaders, verdict

PARTITIONS = 6
SETTLE_SECONDS = 5


def main() -> bool:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stopped", type=int, default=60, help="for how many seconds the broker is stopped")
    parser.add_argument("--before", type=int, default=15, help="for how many seconds the rate before is measured")
    parser.add_argument("--rate", type=int, default=100, help="records a second for each client and partition")
    parser.add_argument("--clients", type=int, default=2)
    parser.add_argument("--librdkafka", metavar="PYTHON", help="a Python that has confluent-kafka: one client more, by librdkafka")
    arguments = parser.parse_args()
    with cluster(3) as running:
        router = running.router()
        keylane(router, "topic", "create", "t", "--partitions", str(PARTITIONS))
        led = leaders(running.brokers[0], "t")
        others = [index for index, leader in led.items() if leader != 3]
        lost = [index for index, leader in led.items() if leader == 3]
        print(f"partitions {lost} of broker 3, {others} of the others")
        after = 20
        seconds = SETTLE_SECONDS + arguments.before + arguments.stopped + after
        clients = [Steady(router, "t", range(PARTITIONS), arguments.rate, seconds) for _ in range(arguments.clients)]
        if arguments.librdkafka:
            program = [arguments.librdkafka, str(pathlib.Path(__file__).with_name("steady_librdkafka.py"))]
            clients.append(Steady(router, "t", range(PARTITIONS), arguments.rate, seconds, program))
        time.sleep(SETTLE_SECONDS)
        begun = time.monotonic()
        time.sleep(arguments.before)
        running.brokers[2].freeze()
        frozen = time.monotonic()
        time.sleep(arguments.stopped)
        running.brokers[2].thaw()
        thawed = time.monotonic()
        for client in clients:
            client.end()
        is_kept = True
        for number, client in enumerate(clients, start=1):
            before = client.rate(others, begun, frozen)
            during = client.rate(others, frozen, thawed)
            first = client.rate(others, frozen, frozen + 11)
            p99 = client.latency_ms(others, begun, frozen, 0.99), client.latency_ms(others, frozen, thawed, 0.99)
            most = client.latency_ms(others, frozen, thawed, 1)
            print(f"client {number}, other brokers: {before:.0f}/s before, {during:.0f}/s while stopped ({during / before:.0%}), "
                  f"{first:.0f}/s in the first ten seconds; p99 {p99[0]:.1f} and {p99[1]:.1f} ms, at most {most:.0f} ms")
            stuck = client.rate(lost, frozen + 2, thawed)
            back = client.rate(lost, thawed + 5, float("inf"))
            print(f"client {number}, stopped broker: {stuck:.0f}/s while stopped, {back:.0f}/s afterwards, {client.failed()} records failed")
            is_kept &= verdict(f"client {number} keeps 80 % of its rate on the other brokers", during >= 0.8 * before)
            is_kept &= verdict(f"client {number} sends to the broker again", back > 0)
        return is_kept


if __name__ == "__main__":
    sys.exit(not main())
