"""What `client/examples/steady.rs` does, by librdkafka: run by `stopped_broker.py --librdkafka`, not by hand."""

import json
import sys
import time

import confluent_kafka

BETWEEN_SECONDS = 0.002


def main(address: str, topic: str, partitions: str, rate: str, seconds: str, size: str) -> None:
    chosen = [int(partition) for partition in partitions.split(",")]
    settings = {"bootstrap.servers": address, "enable.idempotence": True, "linger.ms": 1, "message.timeout.ms": 300_000}
    producer = confluent_kafka.Producer(settings)
    tally = {}

    def settled(partition: int, due: float):
        def callback(error, _message) -> None:
            counts = tally[partition]
            counts["failed" if error else "acknowledged"] += 1
            counts["latencies_us"].append(int((time.monotonic() - due) * 1_000_000))

        return callback

    def begin() -> None:
        tally.update({partition: {"acknowledged": 0, "failed": 0, "latencies_us": []} for partition in chosen})

    begin()
    value = b"x" * int(size)
    start, sent = time.monotonic(), 0
    for second in range(1, int(seconds) + 1):
        while time.monotonic() < start + second:
            while (due := start + sent / int(rate)) <= time.monotonic():
                for partition in chosen:
                    producer.produce(topic, value, partition=partition, callback=settled(partition, due))
                sent += 1
            producer.poll(BETWEEN_SECONDS)
        print(json.dumps({"second": second, "partitions": tally}), flush=True)
        begin()


if __name__ == "__main__":
    main(*sys.argv[1:])
