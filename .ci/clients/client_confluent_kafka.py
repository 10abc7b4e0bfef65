#!/usr/bin/env python3
"""Drives confluent-kafka, which is librdkafka from its wheel, through the cases of cases.py."""

import sys
import time

sys.dont_write_bytecode = True
import confluent_kafka
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import (AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewPartitions, NewTopic, OffsetSpec,
                                   ResourceType)

import cases
from cases import OPERATION_TIMEOUT_SECONDS, Refused
from samples import Sample

TIMEOUT_MS = OPERATION_TIMEOUT_SECONDS * 1000


class ConfluentKafka(cases.Client):
    name, version, sample_file = "confluent-kafka", confluent_kafka.__version__, "full.tsv"

    def __init__(self, bootstrap: str, admin: str):
        super().__init__(bootstrap, admin)
        self.admin = AdminClient({"bootstrap.servers": bootstrap})
        # The library wants a group's name even where no group is used.
        self.consumer = Consumer({
            "bootstrap.servers": bootstrap, "group.id": "unused", "enable.auto.commit": False, "auto.offset.reset": "error",
            "enable.partition.eof": False, "fetch.wait.max.ms": 100,
        })

    def create_topic(self, topic, partitions, replication_factor=1, configs=None):
        wish = NewTopic(topic, num_partitions=partitions, replication_factor=replication_factor, config=configs or {})
        result(self.admin.create_topics([wish], operation_timeout=OPERATION_TIMEOUT_SECONDS)[topic])
        cases.wait_until(lambda: self.partition_count(topic) == partitions, "the new topic is not in the metadata")
        cases.wait_until(lambda: self.leaders_serve(topic, partitions), "the new topic's leaders do not serve")

    def leaders_serve(self, topic, partitions):
        """Says whether all leaders know their role: Apache Kafka names them a moment before, and records retried then may change order."""
        asked = {TopicPartition(topic, partition): OffsetSpec.latest() for partition in range(partitions)}
        answers = self.admin.list_offsets(asked, request_timeout=OPERATION_TIMEOUT_SECONDS).values()
        return not any(answer.exception(OPERATION_TIMEOUT_SECONDS) for answer in answers)

    def delete_topic(self, topic):
        result(self.admin.delete_topics([topic], operation_timeout=OPERATION_TIMEOUT_SECONDS)[topic])

    def partition_count(self, topic):
        found = self.admin.list_topics(topic, timeout=OPERATION_TIMEOUT_SECONDS).topics[topic]
        if found.error is not None and found.error.code() in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC):
            return None
        refuse_on_error(found.error)
        return len(found.partitions)

    def topics(self):
        # A new client's first request, which asks for all topics.
        return list(AdminClient({"bootstrap.servers": self.bootstrap}).list_topics(timeout=OPERATION_TIMEOUT_SECONDS).topics)

    def produce(self, topic, records, codec="none", acks="all", idempotent=False):
        offsets: dict[int, int] = {}
        refusals: list[KafkaError] = []

        def delivered(position):
            def note(error, message):
                if error is not None:
                    refusals.append(error)
                else:
                    offsets[position] = message.offset()
            return note

        producer = self.producer(**{"compression.type": codec, "acks": acks, "enable.idempotence": idempotent})
        for position, record in enumerate(records):
            producer.produce(topic, value=record.value, key=record.key, headers=list(record.headers), partition=record.partition,
                             timestamp=record.timestamp, on_delivery=delivered(position))
        unsent = producer.flush(OPERATION_TIMEOUT_SECONDS)
        assert unsent == 0, f"{unsent} records have no answer"
        if refusals:
            refuse_on_error(refusals[0])
        return [offsets[position] for position in range(len(records))]

    def produce_by_key(self, topic, keys):
        # librdkafka's own default is another function.
        producer = self.producer(partitioner="murmur2_random")
        for key in keys:
            producer.produce(topic, key=key, value=b"of " + key)
        assert producer.flush(OPERATION_TIMEOUT_SECONDS) == 0

    def producer(self, **settings):
        return Producer({"bootstrap.servers": self.bootstrap, "message.max.bytes": 10 * 1024 * 1024, "linger.ms": 5,
                         "message.timeout.ms": TIMEOUT_MS, **settings})

    def consume(self, topic, partition, offset, count):
        return self.consume_from(TopicPartition(topic, partition, offset), count)

    def consume_of_epoch(self, topic, partition, offset, count):
        self.consumer.assign([TopicPartition(topic, partition, offset - 1)])
        (before,) = self.consumer.consume(num_messages=1, timeout=OPERATION_TIMEOUT_SECONDS)
        assert before.leader_epoch() is not None, "the record before has no leader epoch"
        return self.consume_from(TopicPartition(topic, partition, offset, leader_epoch=before.leader_epoch()), count)

    def consume_from(self, place, count):
        partition, offset = place.partition, place.offset
        self.consumer.assign([place])
        found: list[Sample] = []
        deadline = time.monotonic() + OPERATION_TIMEOUT_SECONDS
        while len(found) < count and time.monotonic() < deadline:
            for message in self.consumer.consume(num_messages=count - len(found), timeout=0.5):
                refuse_on_error(message.error())
                assert message.offset() == offset + len(found), f"offset {message.offset()} after {len(found)} records from {offset}"
                found.append(Sample(partition, message.timestamp()[1], message.key(), message.value(), tuple(message.headers() or ())))
        self.consumer.unassign()
        return found

    def offsets(self, topic, partition, timestamp):
        place = TopicPartition(topic, partition)
        if timestamp in ("earliest", "latest"):
            low, high = self.consumer.get_watermark_offsets(place, timeout=OPERATION_TIMEOUT_SECONDS, cached=False)
            return low if timestamp == "earliest" else high
        place.offset = timestamp
        (found,) = self.consumer.offsets_for_times([place], timeout=OPERATION_TIMEOUT_SECONDS)
        refuse_on_error(found.error)
        return None if found.offset == confluent_kafka.OFFSET_END else found.offset

    def describe_cluster(self):
        found = self.admin.describe_cluster(request_timeout=OPERATION_TIMEOUT_SECONDS).result(OPERATION_TIMEOUT_SECONDS)
        return [f"{node.host}:{node.port}" for node in found.nodes]

    def topic_config(self, topic):
        resource = ConfigResource(ResourceType.TOPIC, topic)
        return {key: entry.value for key, entry in result(self.admin.describe_configs([resource])[resource]).items()}

    def create_partitions(self, topic, count):
        result(self.admin.create_partitions([NewPartitions(topic, count)], operation_timeout=OPERATION_TIMEOUT_SECONDS)[topic])
        cases.wait_until(lambda: self.partition_count(topic) == count, "the new partitions are not in the metadata")
        cases.wait_until(lambda: self.leaders_serve(topic, count), "the new partitions' leaders do not serve")

    def change_configs(self, topic, changes):
        wish = [ConfigEntry(key, value, incremental_operation=AlterConfigOpType.DELETE if value is None else AlterConfigOpType.SET)
                for key, value in changes.items()]
        resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=wish)
        result(self.admin.incremental_alter_configs([resource])[resource])

    def read_as_group(self, topic):
        consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": "unserved"})
        consumer.subscribe([topic])
        message = consumer.poll(cases.GROUP_TIMEOUT_SECONDS)
        consumer.close()
        if message is not None:
            refuse_on_error(message.error())

    def begin_transaction(self):
        try:
            self.producer(**{"transactional.id": "unserved"}).init_transactions(OPERATION_TIMEOUT_SECONDS)
        except KafkaException as error:
            refuse_on_error(error.args[0])

    def close(self):
        self.consumer.close()


def result(future):
    try:
        return future.result(OPERATION_TIMEOUT_SECONDS)
    except KafkaException as error:
        refuse_on_error(error.args[0])
        raise


def refuse_on_error(error: KafkaError | None) -> None:
    if error is None:
        return
    if error.code() == KafkaError._UNSUPPORTED_FEATURE:
        raise Refused(cases.UNSUPPORTED_VERSION, error.str())
    if error.code() < 0:
        # Not the server's word but the library's own: something is broken.
        raise KafkaException(error)
    raise Refused(error.code(), error.str())


if __name__ == "__main__":
    cases.main(ConfluentKafka)
