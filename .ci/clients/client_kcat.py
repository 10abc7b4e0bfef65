#!/usr/bin/env python3
"""Drives kcat, Debian's command-line client (an old librdkafka), through the cases of cases.py.

kcat has no admin commands: topics are made through `--admin`, by kafka-python, so that they do not count as kcat's requests.
"""

import json
import re
import subprocess
import sys

sys.dont_write_bytecode = True
import cases
import samples
from cases import OPERATION_TIMEOUT_SECONDS, Refused
from client_kafka_python import KafkaPython
from samples import Sample

#: The words with which librdkafka spells the server's error codes.
ERROR_CODES = {
    "Unknown topic or partition": cases.UNKNOWN_TOPIC_OR_PARTITION,
    "Message size too large": cases.MESSAGE_TOO_LARGE,
}
#: How often a partition could seem to end too early.
ATTEMPTS_TO_THE_END = 5
#: How kcat begins to say that a group could not be joined; the reason follows.
GROUP_REFUSAL = "ERROR: Consumer error: "
RECORD_LINE = re.compile(rb"(-?\d+) (-?\d+) (-?\d+) (-?\d+) (-?\d+) ")
FORMAT = r"%o %T %K %S %p %h\n%k%s\n"


class Kcat(cases.Client):
    name, sample_file = "kcat", "kcat.tsv"
    version = re.search(r"Version (\S+)", subprocess.run(["kcat", "-V"], capture_output=True, text=True).stdout).group(1)
    cannot = frozenset({
        "consume by leader epoch",
        "describe configs", "change configs", "fewer partitions is refused", "more partitions of an unknown topic is refused",
        "unknown config change is refused", "bad config change is refused", "existing topic is refused", "unknown topic is refused", "replication factor 3 is refused in words",
        "no partitions is refused", "bad topic name is refused", "unknown config is refused", "bad config value is refused",
        "config without effect is refused", "transaction is refused",
    })

    def __init__(self, bootstrap: str, admin: str):
        super().__init__(bootstrap, admin)
        self.admin_client = KafkaPython(admin, admin)

    def create_topic(self, topic, partitions, replication_factor=1, configs=None):
        self.admin_client.create_topic(topic, partitions, replication_factor, configs)

    def delete_topic(self, topic):
        self.admin_client.delete_topic(topic)

    def partition_count(self, topic):
        (found,) = json.loads(self.kcat("-L", "-J", "-t", topic))["topics"]
        if ERROR_CODES.get(found.get("error", "").removeprefix("Broker: ")) == cases.UNKNOWN_TOPIC_OR_PARTITION:
            return None
        assert "error" not in found, found["error"]
        return len(found["partitions"])

    def topics(self):
        return [topic["topic"] for topic in json.loads(self.kcat("-L", "-J"))["topics"]]

    def produce(self, topic, records, codec="none", acks="all", idempotent=False):
        settings = ["-X", "message.max.bytes=10485760", "-X", f"acks={acks}", "-X", f"enable.idempotence={str(idempotent).lower()}",
                    "-X", "topic.produce.offset.report=true", "-z", codec, "-vv"]
        offsets = []
        for partition in sorted({record.partition for record in records}):
            group = [record for record in records if record.partition == partition]
            headers = [part for name, value in group[0].headers for part in ("-H", f"{name}={value.decode()}")]
            lines = b"".join((record.key or b"") + b"\t" + (record.value or b"") + b"\n" for record in group)
            report = self.kcat("-P", "-t", topic, "-p", str(partition), "-K", "\\t", "-Z", *settings, *headers, input=lines, stderr=True)
            offsets += [int(offset) for offset in re.findall(r"delivered to partition \d+ \(offset (\d+)\)", report)]
        return offsets

    def produce_by_key(self, topic, keys):
        self.kcat("-P", "-t", topic, "-K", "\\t", "-X", "partitioner=murmur2_random",
                  input=b"".join(key + b"\tof " + key + b"\n" for key in keys))

    def consume(self, topic, partition, offset, count):
        if count == 0:
            return []
        output = self.kcat("-C", "-q", "-t", topic, "-p", str(partition), "-o", str(offset), "-c", str(count), "-f", FORMAT, binary=True)
        found, at = [], 0
        while at < len(output):
            found_offset, sample, at = read_record(output, at)
            assert found_offset == offset + len(found), f"offset {found_offset} after {len(found)} records from {offset}"
            found.append(sample)
        return found

    def offsets(self, topic, partition, timestamp):
        asked = {"earliest": -2, "latest": -1}.get(timestamp, timestamp)
        offset = int(self.kcat("-Q", "-t", f"{topic}:{partition}:{asked}").split()[-1])
        return None if offset == -1 else offset

    def describe_cluster(self):
        return [broker["name"] for broker in json.loads(self.kcat("-L", "-J"))["brokers"]]

    def topic_config(self, topic):
        raise NotImplementedError

    def create_partitions(self, topic, count):
        self.admin_client.create_partitions(topic, count)

    def change_configs(self, topic, changes):
        raise NotImplementedError

    def own_cases(self):
        return {"reads all partitions to their end and stops": reads_to_the_end}

    def read_as_group(self, topic):
        command = ["kcat", "-b", self.bootstrap, "-G", "unserved", topic]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=cases.GROUP_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            return
        _, found, words = done.stderr.partition(GROUP_REFUSAL)
        assert found, done.stderr
        raise Refused(cases.UNSUPPORTED_VERSION, words)

    def begin_transaction(self):
        raise NotImplementedError

    def shown(self, sample):
        return sample._replace(headers=tuple(
            (name, b"NULL" if value is None else value.split(b"\0")[0]) for name, value in sample.headers))

    def kcat(self, *arguments: str, input: bytes = b"", binary: bool = False, stderr: bool = False):
        """Runs kcat and returns what it printed."""
        command = ["kcat", "-b", self.bootstrap, "-m", str(OPERATION_TIMEOUT_SECONDS), *arguments]
        done = subprocess.run(command, input=input, capture_output=True, timeout=OPERATION_TIMEOUT_SECONDS)
        complaint = done.stderr.decode()
        for words, code in ERROR_CODES.items():
            if f"Broker: {words}" in complaint:
                raise Refused(code, complaint)
        assert done.returncode == 0, complaint
        assert "ERROR" not in complaint and "Delivery failed" not in complaint, complaint
        if stderr:
            return complaint
        return done.stdout if binary else done.stdout.decode()

    def close(self):
        self.admin_client.close()


def reads_to_the_end(client: Kcat, topic: str, expected: list[Sample]) -> None:
    """`-e` stops where every partition has ended: at a high watermark that must not be an old one."""
    client.create_topic(topic, samples.PARTITION_COUNT)
    client.produce(topic, expected, "lz4")
    for _ in range(ATTEMPTS_TO_THE_END):
        output = client.kcat("-C", "-q", "-e", "-t", topic, "-o", "beginning", "-f", FORMAT, binary=True)
        found, at = [], 0
        while at < len(output):
            _, sample, at = read_record(output, at)
            found.append(sample)
        for partition in range(samples.PARTITION_COUNT):
            wanted = [client.shown(sample) for sample in samples.of_partition(expected, partition)]
            samples.compare(wanted, samples.of_partition(found, partition), f"partition {partition}")


def read_record(output: bytes, at: int) -> tuple[int, Sample, int]:
    """Returns the offset and the record that kcat printed at a place of its output, and where the next one begins."""
    line = RECORD_LINE.match(output, at)
    assert line, f"not a record: {output[at:at + 60]!r}"
    found_offset, timestamp, key_length, value_length, partition = (int(number) for number in line.groups())
    end = output.index(b"\n", line.end())
    headers = tuple((name.decode(), value) for name, _, value in
                    (pair.partition(b"=") for pair in output[line.end():end].split(b",") if pair))
    at = end + 1
    key = None if key_length < 0 else output[at:at + key_length]
    at += max(key_length, 0)
    value = None if value_length < 0 else output[at:at + value_length]
    at += max(value_length, 0)
    assert output[at:at + 1] == b"\n"
    return found_offset, Sample(partition, timestamp, key, value, headers), at + 1


if __name__ == "__main__":
    cases.main(Kcat)
