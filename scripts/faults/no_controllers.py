#!/usr/bin/env python3
"""All controllers are away for half a minute; a router goes on serving with what it knows.

Four brokers are run, of which three vote and are killed with -9; the fourth leads partitions. Kept if a client keeps
its rate on them, a new client is served, and topics can be created once the voters are back.
"""

import argparse
import sys
import time

from kit import Server, Steady, cluster, keylane, leaders, verdict

SETTLE_SECONDS = 5


def main() -> bool:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--away", type=int, default=30, help="for how many seconds the controllers are away")
    parser.add_argument("--rate", type=int, default=100, help="records a second for each partition")
    arguments = parser.parse_args()
    with cluster(3) as running:
        voters = ",".join(f"{place + 1}@{address}" for place, address in enumerate(running.internal))
        plain = Server("broker", "--id", "4", "--data", str(running.folder / "broker-4"), "--port", "0", "--voters", voters, "--session", "2s")
        running.routers.append(plain)
        plain.wait_until_ready()
        router = running.router()
        mine = wait_for_partitions(router, plain)
        seconds = SETTLE_SECONDS + 10 + arguments.away + 20
        client = Steady(router, "t", mine, arguments.rate, seconds)
        time.sleep(SETTLE_SECONDS)
        begun = time.monotonic()
        time.sleep(10)
        for broker in running.brokers:
            broker.kill()
        away = time.monotonic()
        time.sleep(arguments.away / 2)
        late = Steady(router, "t", mine, arguments.rate, int(arguments.away / 2))
        late.end()
        time.sleep(max(0, away + arguments.away - time.monotonic()))
        back = time.monotonic()
        running.brokers = [running.broker(index) for index in range(3)]
        for broker in running.brokers:
            broker.wait_until_ready()
        created = time.monotonic()
        keylane(router, "topic", "create", "later", "--partitions", "2")
        print(f"a topic was created {time.monotonic() - created:.1f} s after the voters were ready")
        client.stop()
        before, during = client.rate(mine, begun, away), client.rate(mine, away, back)
        new = late.rate(mine, 0, float("inf"))
        print(f"{before:.0f}/s before, {during:.0f}/s without controllers; a client that came then: {new:.0f}/s; {client.failed()} failed")
        is_kept = verdict("the router serves on without controllers", during >= 0.8 * before and client.failed() == 0)
        return verdict("and serves clients that come then", new >= 0.8 * before) and is_kept


def wait_for_partitions(router: Server, plain: Server) -> list[int]:
    """Creates a topic once all brokers take part; returns the partitions that the plain broker leads."""
    for _ in range(50):
        keylane(router, "topic", "create", "t", "--partitions", "8")
        mine = [partition for partition, leader in leaders(plain, "t").items() if leader == 4]
        if mine:
            return mine
        keylane(router, "topic", "delete", "t")
        time.sleep(0.2)
    raise SystemExit("broker 4 never leads anything")


if __name__ == "__main__":
    sys.exit(not main())
