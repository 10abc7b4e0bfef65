#!/usr/bin/env python3
"""Drives kafka-python, the client written in Python alone, through the cases of cases.py."""

import re
import sys
import time

sys.dont_write_bytecode = True
import kafka
import kafka.errors
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import AlterConfigOp, ConfigResource, ConfigResourceType, OffsetSpec

import cases
from cases import OPERATION_TIMEOUT_SECONDS, Refused
from samples import Sample

UNKNOWN_TOPIC = cases.UNKNOWN_TOPIC_OR_PARTITION
TIMEOUT_MS = OPERATION_TIMEOUT_SECONDS * 1000


class KafkaPython(cases.Client):
    name, version, sample_file = "kafka-python", kafka.__version__, "kafka-python.tsv"

    # It asks about an epoch only when it has seen a later one.
    cannot = frozenset({"consume by leader epoch"})

    def __init__(self, bootstrap: str, admin: str):
        super().__init__(bootstrap, admin)
        self.admin = KafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=TIMEOUT_MS)
        self.consumer = KafkaConsumer(bootstrap_servers=bootstrap, group_id=None, enable_auto_commit=False,
                                      request_timeout_ms=TIMEOUT_MS, auto_offset_reset="none")

    def create_topic(self, topic, partitions, replication_factor=1, configs=None):
        wish = {"num_partitions": partitions, "replication_factor": replication_factor, "configs": configs or {}}
        answer = self.admin.create_topics({topic: wish}, timeout_ms=TIMEOUT_MS, raise_errors=False)
        refuse_on_error(answer["topics"][0])
        self.admin.wait_for_topics([topic], timeout_ms=TIMEOUT_MS)
        # Apache Kafka names leaders a moment before they know: their first answers would make a producer repeat itself.
        asked = {TopicPartition(topic, partition): OffsetSpec.LATEST for partition in range(partitions)}
        self.admin.list_partition_offsets(asked, timeout_ms=TIMEOUT_MS)

    def delete_topic(self, topic):
        refuse_on_error(self.admin.delete_topics([topic], timeout_ms=TIMEOUT_MS, raise_errors=False)["topics"][0])

    def partition_count(self, topic):
        (found,) = self.admin.describe_topics([topic])
        if found["error_code"] == UNKNOWN_TOPIC:
            return None
        refuse_on_error(found)
        return len(found["partitions"])

    def topics(self):
        return list(self.admin.list_topics())

    def produce(self, topic, records, codec="none", acks="all", idempotent=False):
        producer = self.producer(compression_type=None if codec == "none" else codec, acks=acks, enable_idempotence=idempotent)
        try:
            promises = [producer.send(topic, value=record.value, key=record.key, headers=list(record.headers),
                                      partition=record.partition, timestamp_ms=record.timestamp) for record in records]
            return [promise.get(OPERATION_TIMEOUT_SECONDS).offset for promise in promises]
        except kafka.errors.BrokerResponseError as error:
            raise Refused(error.errno, str(error)) from error
        finally:
            producer.close(timeout=OPERATION_TIMEOUT_SECONDS)

    def produce_by_key(self, topic, keys):
        producer = self.producer()
        for key in keys:
            producer.send(topic, key=key, value=b"of " + key)
        producer.flush(OPERATION_TIMEOUT_SECONDS)
        producer.close(timeout=OPERATION_TIMEOUT_SECONDS)

    def producer(self, **settings):
        return KafkaProducer(bootstrap_servers=self.bootstrap, max_request_size=10 * 1024 * 1024, linger_ms=5,
                             delivery_timeout_ms=TIMEOUT_MS, request_timeout_ms=TIMEOUT_MS - 1000, **settings)

    def consume(self, topic, partition, offset, count):
        place = TopicPartition(topic, partition)
        self.consumer.assign([place])
        self.consumer.seek(place, offset)
        found: list[Sample] = []
        deadline = time.monotonic() + OPERATION_TIMEOUT_SECONDS
        while len(found) < count and time.monotonic() < deadline:
            for record in self.consumer.poll(timeout_ms=500).get(place, []):
                assert record.offset == offset + len(found), f"offset {record.offset} after {len(found)} records from {offset}"
                found.append(Sample(partition, record.timestamp, record.key, record.value, tuple(record.headers)))
        return found

    def offsets(self, topic, partition, timestamp):
        place = TopicPartition(topic, partition)
        if timestamp == "earliest":
            return self.consumer.beginning_offsets([place], timeout_ms=TIMEOUT_MS)[place]
        if timestamp == "latest":
            return self.consumer.end_offsets([place], timeout_ms=TIMEOUT_MS)[place]
        found = self.consumer.offsets_for_times({place: timestamp}, timeout_ms=TIMEOUT_MS)[place]
        return None if found is None else found.offset

    def describe_cluster(self):
        return [f"{broker['host']}:{broker['port']}" for broker in self.admin.describe_cluster()["brokers"]]

    def topic_config(self, topic):
        found = self.admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)], config_filter="all")
        return {key: entry["value"] for key, entry in found["topic"][topic].items()}

    def create_partitions(self, topic, count):
        answer = self.admin.create_partitions({topic: count}, timeout_ms=TIMEOUT_MS, raise_errors=False)
        refuse_on_error({"error_code": answer.results[0].error_code, "error_message": answer.results[0].error_message})

    def change_configs(self, topic, changes):
        wish = {key: (AlterConfigOp.DELETE if value is None else AlterConfigOp.SET, value) for key, value in changes.items()}
        # The client would itself refuse keys that the topic does not show.
        found = self.admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, wish)], raise_on_unknown=False, incremental=True)
        outcome = found["topic"][topic]
        if outcome != "OK":
            code = re.match(r"\[Error (\d+)\]", outcome)
            assert code, f"neither done nor refused: {outcome}"
            raise Refused(int(code.group(1)), outcome)

    def read_as_group(self, topic):
        consumer = KafkaConsumer(topic, bootstrap_servers=self.bootstrap, group_id="unserved")
        try:
            consumer.poll(timeout_ms=cases.GROUP_TIMEOUT_SECONDS * 1000)
        except kafka.errors.BrokerResponseError as error:
            raise Refused(error.errno, str(error)) from error
        finally:
            consumer.close(autocommit=False)

    def begin_transaction(self):
        producer = self.producer(transactional_id="unserved")
        try:
            producer.init_transactions()
        except kafka.errors.BrokerResponseError as error:
            raise Refused(error.errno, str(error)) from error
        finally:
            producer.close(timeout=0)

    def close(self):
        self.consumer.close(autocommit=False)
        self.admin.close()


def refuse_on_error(answer: dict) -> None:
    if answer["error_code"] != 0:
        raise Refused(answer["error_code"], answer.get("error_message"))


if __name__ == "__main__":
    cases.main(KafkaPython)
