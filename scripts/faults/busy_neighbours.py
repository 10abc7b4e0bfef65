#!/usr/bin/env python3
"""A stopped broker, a client that never reads and one that sends flat out share a router with quiet clients.

Kept if the quiet clients' p99 stays within twice that of before, and the router's memory within its configured pools.
"""

import argparse
import struct
import sys
import threading
import time

from kit import Steady, Server, cluster, connect, frame, keylane, leaders, text, verdict

PARTITIONS = 6
SETTLE_SECONDS = 5
POOL_MIB = 64
# What the process has besides its pools: code, threads' stacks, connections, the image.
BASE_MIB = 64


def main() -> bool:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=40, help="how long each half is measured")
    parser.add_argument("--rate", type=int, default=100, help="records a second for each quiet client and partition")
    parser.add_argument("--clients", type=int, default=2)
    arguments = parser.parse_args()
    pools = ["--requests-size-max", f"{POOL_MIB}MiB", "--request-size-max", "16MiB", "--fetches-size-max", f"{POOL_MIB}MiB"]
    with cluster(3) as running:
        router = running.router(*pools)
        keylane(router, "topic", "create", "t", "--partitions", str(PARTITIONS))
        led = leaders(running.brokers[0], "t")
        others = [index for index, leader in led.items() if leader != 3]
        seconds = SETTLE_SECONDS + 2 * arguments.seconds + 10
        clients = [Steady(router, "t", others, arguments.rate, seconds) for _ in range(arguments.clients)]
        time.sleep(SETTLE_SECONDS)
        begun = time.monotonic()
        time.sleep(arguments.seconds)
        before = router.memory_bytes()
        running.brokers[2].freeze()
        flat_out = Steady(router, "t", range(PARTITIONS), 0, arguments.seconds + 5)
        never_reading = [NeverReading(router, others) for _ in range(4)]
        # Until all of them are at their bounds, and the loss is known.
        time.sleep(2)
        faulty = time.monotonic()
        time.sleep(arguments.seconds)
        until = time.monotonic()
        most = router.memory_bytes("VmHWM")
        for client in never_reading:
            client.stop()
        flat_out.stop()
        for client in clients:
            client.stop()
        running.brokers[2].thaw()
        is_kept = True
        for number, client in enumerate(clients, start=1):
            p50 = [client.latency_ms(others, *span, 0.5) for span in [(begun, begun + arguments.seconds), (faulty, until)]]
            p99 = [client.latency_ms(others, *span, 0.99) for span in [(begun, begun + arguments.seconds), (faulty, until)]]
            rate = [client.rate(others, *span) for span in [(begun, begun + arguments.seconds), (faulty, until)]]
            print(f"quiet client {number}: {rate[0]:.0f} and {rate[1]:.0f}/s; p50 {p50[0]:.2f} and {p50[1]:.2f} ms, "
                  f"p99 {p99[0]:.2f} and {p99[1]:.2f} ms")
            is_kept &= verdict(f"client {number}: p99 within twice that of before", p99[1] <= 2 * p99[0])
        flat = flat_out.rate(others, faulty, until)
        asked = sum(client.asked for client in never_reading)
        print(f"flat out: {flat:.0f}/s to the other brokers; the silent readers had {asked} requests taken")
        print(f"router: {before >> 20} MiB before, at most {most >> 20} MiB; pools 2 × {POOL_MIB} MiB and as much again in arrival")
        is_kept &= verdict("the router's memory is within its pools", most <= (3 * POOL_MIB + BASE_MIB) << 20)
        return is_kept


class NeverReading:
    """Asks for records without end and takes no answer."""

    def __init__(self, router: Server, partitions: list[int]):
        self.asked = 0
        self.stream = connect(router)
        self.request = fetch("t", partitions)
        self.is_stopping = False
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        self.stream.settimeout(0.5)
        while not self.is_stopping:
            try:
                self.stream.sendall(self.request)
                self.asked += 1
            except TimeoutError:
                pass
            except OSError:
                return

    def stop(self) -> None:
        self.is_stopping = True
        self.thread.join()
        self.stream.close()


def fetch(topic: str, partitions: list[int]) -> bytes:
    """Returns a Fetch, version 4, of partitions from their beginning."""
    mebibyte = 1 << 20
    body = struct.pack(">iiiib", -1, 100, 1, 8 * mebibyte, 0) + struct.pack(">i", 1) + text(topic)
    body += struct.pack(">i", len(partitions))
    body += b"".join(struct.pack(">iqi", index, 0, 8 * mebibyte) for index in partitions)
    return frame(1, 4, body)


if __name__ == "__main__":
    sys.exit(not main())
