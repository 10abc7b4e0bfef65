"""A client that is no Python library: a program that carries out operations, one JSON line each way.

To the program: `{"id": 7, "operation": "produce", …}`. From it, in any order: `{"id": 7, "result": …}`, or
`{"id": 7, "refused": CODE, "words": …}`, or `{"id": 7, "broken": …}`. Bytes are hexadecimal text, null is null.
"""

import itertools
import json
import queue
import subprocess
import threading

import cases
from cases import OPERATION_TIMEOUT_SECONDS, Refused
from samples import Sample


class Driven(cases.Client):
    """A client whose operations a program carries out."""

    answer_timeout_seconds: float = OPERATION_TIMEOUT_SECONDS + 5

    def __init__(self, bootstrap: str, admin: str, command: list[str]):
        super().__init__(bootstrap, admin)
        self.process = subprocess.Popen([*command, bootstrap], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.numbers = itertools.count(1)
        self.writing = threading.Lock()
        self.answers: dict[int, queue.Queue] = {}
        threading.Thread(target=self.take_answers, daemon=True).start()

    def take_answers(self) -> None:
        for line in self.process.stdout:
            answer = json.loads(line)
            # Who asked may have run out of time.
            if waiting := self.answers.pop(answer["id"], None):
                waiting.put(answer)
        for waiting in list(self.answers.values()):
            waiting.put({"broken": "the program has ended"})

    def ask(self, operation: str, **arguments):
        """Has an operation carried out and returns its result."""
        number, waiting = next(self.numbers), queue.Queue()
        self.answers[number] = waiting
        with self.writing:
            self.process.stdin.write(json.dumps({"id": number, "operation": operation, **arguments}) + "\n")
            self.process.stdin.flush()
        answer = waiting.get(timeout=self.answer_timeout_seconds)
        if "refused" in answer:
            raise Refused(answer["refused"], answer.get("words"))
        if "broken" in answer:
            raise RuntimeError(answer["broken"])
        return answer.get("result")

    def create_topic(self, topic, partitions, replication_factor=1, configs=None):
        self.ask("create_topic", topic=topic, partitions=partitions, replication_factor=replication_factor, configs=configs or {})
        cases.wait_until(lambda: self.partition_count(topic) == partitions, "the new topic is not in the metadata")
        # Apache Kafka names leaders a moment before they know: their first answers would make a producer repeat itself.
        cases.wait_until(lambda: self.leaders_serve(topic, partitions), "the new topic's leaders do not serve")

    def leaders_serve(self, topic, partitions):
        try:
            return [self.offsets(topic, partition, "latest") for partition in range(partitions)].count(None) == 0
        except (Refused, RuntimeError):
            return False

    def delete_topic(self, topic):
        self.ask("delete_topic", topic=topic)

    def partition_count(self, topic):
        return self.ask("partition_count", topic=topic)

    def topics(self):
        return self.ask("topics")

    def produce(self, topic, records, codec="none", acks="all", idempotent=False):
        acks = {"all": -1}.get(acks, acks)
        return self.ask("produce", topic=topic, records=[as_json(record) for record in records], codec=codec, acks=acks, idempotent=idempotent)

    def produce_by_key(self, topic, keys):
        self.ask("produce_by_key", topic=topic, records=[{"key": key.hex(), "value": (b"of " + key).hex()} for key in keys])

    def consume(self, topic, partition, offset, count):
        if count == 0:
            return []
        found = self.ask("consume", topic=topic, partition=partition, offset=offset, count=count, timeout_ms=OPERATION_TIMEOUT_SECONDS * 1000)
        offsets = [record["offset"] for record in found]
        assert offsets == list(range(offset, offset + len(found))), f"offsets {offsets} from {offset}"
        return [from_json(record) for record in found]

    def consume_of_epoch(self, topic, partition, offset, count):
        (before,) = self.ask("consume", topic=topic, partition=partition, offset=offset - 1, count=1, timeout_ms=OPERATION_TIMEOUT_SECONDS * 1000)
        found = self.ask("consume", topic=topic, partition=partition, offset=offset, epoch=before["epoch"], count=count,
                         timeout_ms=OPERATION_TIMEOUT_SECONDS * 1000)
        return [from_json(record) for record in found]

    def offsets(self, topic, partition, timestamp):
        asked = {"earliest": -2, "latest": -1}.get(timestamp, timestamp)
        found = self.ask("offsets", topic=topic, partition=partition, timestamp=asked)
        return None if found == -1 else found

    def describe_cluster(self):
        return self.ask("describe_cluster")

    def topic_config(self, topic):
        return self.ask("topic_config", topic=topic)

    def create_partitions(self, topic, count):
        self.ask("create_partitions", topic=topic, count=count)
        cases.wait_until(lambda: self.leaders_serve(topic, count), "the new partitions' leaders do not serve")

    def change_configs(self, topic, changes):
        self.ask("change_configs", topic=topic, changes=changes)

    def read_as_group(self, topic):
        self.ask("read_as_group", topic=topic, timeout_ms=cases.GROUP_TIMEOUT_SECONDS * 1000)

    def begin_transaction(self):
        self.ask("begin_transaction")

    def close(self):
        self.process.stdin.close()
        self.process.wait(OPERATION_TIMEOUT_SECONDS)


def as_json(record: Sample) -> dict:
    return {"partition": record.partition, "timestamp": record.timestamp, "key": as_text(record.key), "value": as_text(record.value),
            "headers": [[name, as_text(value)] for name, value in record.headers]}


def from_json(record: dict) -> Sample:
    headers = tuple((name, from_text(value)) for name, value in record["headers"])
    return Sample(record["partition"], record["timestamp"], from_text(record["key"]), from_text(record["value"]), headers)


def as_text(value: bytes | None) -> str | None:
    return None if value is None else value.hex()


def from_text(text: str | None) -> bytes | None:
    return None if text is None else bytes.fromhex(text)
