#!/usr/bin/env python3
"""Drives aiokafka, the client for Python's asyncio, through the cases of cases.py.

It has no request that changes single keys of a configuration, and tries to join a group for ever where groups are not offered.
"""

import asyncio
import sys
import threading
import time

sys.dont_write_bytecode = True
import aiokafka
import aiokafka.errors
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

import cases
from cases import OPERATION_TIMEOUT_SECONDS, Refused
from samples import Sample

TIMEOUT_MS = OPERATION_TIMEOUT_SECONDS * 1000


class AioKafka(cases.Client):
    name, version, sample_file = "aiokafka", aiokafka.__version__, "kafka-python.tsv"
    cannot = frozenset({"consume by leader epoch", "change configs", "unknown config change is refused", "bad config change is refused",
                        "consumer group is refused"})

    def __init__(self, bootstrap: str, admin: str):
        super().__init__(bootstrap, admin)
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()
        self.wait_for(self.start())

    async def start(self):
        self.admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap, request_timeout_ms=TIMEOUT_MS)
        await self.admin.start()
        self.consumer = AIOKafkaConsumer(bootstrap_servers=self.bootstrap, group_id=None, enable_auto_commit=False,
                                         auto_offset_reset="none", fetch_max_wait_ms=100)
        await self.consumer.start()

    def wait_for(self, operation):
        """Runs an operation of the library on its loop and returns what it brings."""
        return asyncio.run_coroutine_threadsafe(operation, self.loop).result(OPERATION_TIMEOUT_SECONDS + 5)

    def create_topic(self, topic, partitions, replication_factor=1, configs=None):
        wish = NewTopic(topic, partitions, replication_factor, topic_configs=configs or {})
        answer = self.wait_for(self.admin.create_topics([wish], timeout_ms=TIMEOUT_MS))
        refuse_on_error(answer.topic_errors[0])
        cases.wait_until(lambda: self.partition_count(topic) == partitions, "the new topic is not in the metadata")
        # Apache Kafka names leaders a moment before they know: their first answers would make a producer repeat itself.
        cases.wait_until(lambda: self.leaders_serve(topic, partitions), "the new topic's leaders do not serve")

    def leaders_serve(self, topic, partitions):
        places = [TopicPartition(topic, partition) for partition in range(partitions)]
        try:
            return len(self.wait_for(self.consumer.end_offsets(places))) == partitions
        except aiokafka.errors.KafkaError:
            return False

    def delete_topic(self, topic):
        answer = self.wait_for(self.admin.delete_topics([topic], timeout_ms=TIMEOUT_MS))
        refuse_on_error(answer.topic_error_codes[0])

    def partition_count(self, topic):
        (found,) = self.wait_for(self.admin.describe_topics([topic]))
        if found["error_code"] == cases.UNKNOWN_TOPIC_OR_PARTITION:
            return None
        refuse_on_error((topic, found["error_code"]))
        return len(found["partitions"])

    def topics(self):
        return self.wait_for(self.admin.list_topics())

    def produce(self, topic, records, codec="none", acks="all", idempotent=False):
        return self.wait_for(self.produce_all(topic, records, codec, acks, idempotent))

    async def produce_all(self, topic, records, codec, acks, idempotent):
        producer = self.producer(compression_type=None if codec == "none" else codec, acks=acks, enable_idempotence=idempotent)
        await producer.start()
        try:
            promises = [await producer.send(topic, record.value, record.key, record.partition, record.timestamp, list(record.headers))
                        for record in records]
            return [(await promise).offset if acks != 0 else -1 for promise in promises]
        except aiokafka.errors.KafkaError as error:
            raise Refused(error.errno, str(error)) from error
        finally:
            await producer.stop()

    def produce_by_key(self, topic, keys):
        async def send_all():
            async with self.producer() as producer:
                for key in keys:
                    await producer.send(topic, b"of " + key, key)
        self.wait_for(send_all())

    def producer(self, **settings):
        return AIOKafkaProducer(bootstrap_servers=self.bootstrap, max_request_size=10 * 1024 * 1024, linger_ms=5,
                                request_timeout_ms=TIMEOUT_MS, **settings)

    def consume(self, topic, partition, offset, count):
        return self.wait_for(self.consume_some(TopicPartition(topic, partition), offset, count))

    async def consume_some(self, place, offset, count):
        self.consumer.assign([place])
        self.consumer.seek(place, offset)
        found: list[Sample] = []
        deadline = time.monotonic() + OPERATION_TIMEOUT_SECONDS
        while len(found) < count and time.monotonic() < deadline:
            records = await self.consumer.getmany(timeout_ms=500, max_records=count - len(found))
            for record in records.get(place, []):
                assert record.offset == offset + len(found), f"offset {record.offset} after {len(found)} records from {offset}"
                found.append(Sample(place.partition, record.timestamp, record.key, record.value, tuple(record.headers)))
        return found

    def offsets(self, topic, partition, timestamp):
        place = TopicPartition(topic, partition)
        if timestamp == "earliest":
            return self.wait_for(self.consumer.beginning_offsets([place]))[place]
        if timestamp == "latest":
            return self.wait_for(self.consumer.end_offsets([place]))[place]
        found = self.wait_for(self.consumer.offsets_for_times({place: timestamp}))[place]
        return None if found is None else found.offset

    def describe_cluster(self):
        found = self.wait_for(self.admin.describe_cluster())
        return [f"{broker['host']}:{broker['port']}" for broker in found["brokers"]]

    def topic_config(self, topic):
        (answer,) = self.wait_for(self.admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)]))
        ((error_code, words, _, _, entries),) = (resource[:5] for resource in answer.resources)
        refuse_on_error((topic, error_code, words))
        return {entry[0]: entry[1] for entry in entries}

    def create_partitions(self, topic, count):
        try:
            self.wait_for(self.admin.create_partitions({topic: NewPartitions(count)}, timeout_ms=TIMEOUT_MS))
        except aiokafka.errors.KafkaError as error:
            raise Refused(error.errno, str(error)) from error

    def change_configs(self, topic, changes):
        raise NotImplementedError

    def read_as_group(self, topic):
        async def read():
            consumer = AIOKafkaConsumer(topic, bootstrap_servers=self.bootstrap, group_id="unserved")
            try:
                await asyncio.wait_for(consumer.start(), cases.GROUP_TIMEOUT_SECONDS)
                await consumer.getmany(timeout_ms=cases.GROUP_TIMEOUT_SECONDS * 1000)
            finally:
                await consumer.stop()
        self.wait_for(read())

    def begin_transaction(self):
        async def begin():
            producer = self.producer(transactional_id="unserved")
            try:
                await producer.start()
            except aiokafka.errors.KafkaError as error:
                raise Refused(error.errno, str(error)) from error
            finally:
                await producer.stop()
        self.wait_for(begin())

    def close(self):
        self.wait_for(self.consumer.stop())
        self.wait_for(self.admin.close())


def refuse_on_error(answer: tuple) -> None:
    """Raises the refusal of an answer: name, code, and from some versions on words."""
    if answer[1] != 0:
        raise Refused(answer[1], answer[2] if len(answer) > 2 else None)


if __name__ == "__main__":
    cases.main(AioKafka)
