#!/usr/bin/env python3
"""Drives kafkajs, a client for Node.js, through the cases of cases.py; drivers/kafkajs carries out the operations.

kafkajs reads as a consumer group only: what it wrote is read through `--admin`, by kafka-python, so that it does not count as
kafkajs's requests. It has no request that changes single keys of a configuration. The codecs that it leaves to others are written
in JavaScript.
"""

import json
import sys

sys.dont_write_bytecode = True
import cases
from cache import HERE, node_modules
from client_kafka_python import KafkaPython
from driven import Driven

FOLDER = HERE / "drivers" / "kafkajs"


class KafkaJs(Driven):
    name, sample_file = "kafkajs", "kafkajs.tsv"
    version = json.loads((FOLDER / "package.json").read_text())["dependencies"]["kafkajs"]
    cannot = frozenset({"change configs", "unknown config change is refused", "bad config change is refused", "consume by offset", "consume by leader epoch",
                        "a waiting reader gets a record written later"})

    shows_words = False

    def __init__(self, bootstrap: str, admin: str):
        super().__init__(bootstrap, admin, ["node", str(FOLDER / "driver.js"), str(node_modules(FOLDER))])
        self.reader = KafkaPython(admin, admin)

    def consume(self, topic, partition, offset, count):
        return self.reader.consume(topic, partition, offset, count)

    def close(self):
        super().close()
        self.reader.close()


if __name__ == "__main__":
    cases.main(KafkaJs)
