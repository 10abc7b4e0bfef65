"""Writes one batch per codec as other clients do, see README.md.

    record.py kafka-python FOLDER          with kafka-python's own builder
    record.py librdkafka FOLDER SERVER     through a broker, whose segment file then holds the batch: prints its topics
"""

import sys
from pathlib import Path

CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]


def records(codec):
    for index in range(20 if codec == "none" else 200):
        yield {
            "timestamp": 1_700_000_000_000 + (-50 if index == 3 else 7 * index),
            "key": None if index % 3 == 0 else b"key-%d" % (index % 10),
            "value": None if index % 7 == 0 else (b"value %d " % index) * 50,
            "headers": [] if index % 5 else [("h", b"a"), ("h", None), ("", "ü".encode())],
        }


def kafka_python(folder):
    from kafka.record.default_records import DefaultRecordBatchBuilder

    for number, codec in enumerate(CODECS):
        builder = DefaultRecordBatchBuilder(2, number, 0, 4242, 3, 17, 1 << 20)
        for offset, record in enumerate(records(codec)):
            builder.append(offset, **record)
        (folder / f"{codec}.bin").write_bytes(bytes(builder.build()))


def librdkafka(server):
    from confluent_kafka import Producer
    from confluent_kafka.admin import AdminClient, NewTopic

    admin = AdminClient({"bootstrap.servers": server})
    for codec in CODECS:
        topic = f"records-golden-{codec}"
        admin.create_topics([NewTopic(topic, 1, 1)])[topic].result()
        producer = Producer({
            "bootstrap.servers": server, "compression.type": codec,
            "linger.ms": 2000, "batch.size": 1 << 20, "enable.idempotence": True,
        })
        for record in records(codec):
            producer.produce(topic, partition=0, **record)
        assert producer.flush(30) == 0
        print(topic)


if __name__ == "__main__":
    if sys.argv[1] == "kafka-python":
        kafka_python(Path(sys.argv[2]))
    else:
        librdkafka(sys.argv[3])
