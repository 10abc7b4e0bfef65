"""What the scripts of the Python clients and of kcat share: arguments, one printed line per case, and the list of cases.

A client script fills in a `Client`: the few operations in terms of its library. The cases are written once, here. They print
`ok CLIENT VERSION CASE` or `FAIL CLIENT VERSION CASE: reason`; the exit code is 0 only if no case failed.
"""

import abc
import argparse
import contextlib
import pathlib
import signal
import sys
import threading
import time
import typing

import samples
from samples import Sample

CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]
CASE_TIMEOUT_SECONDS = 60
OPERATION_TIMEOUT_SECONDS = 20
GROUP_TIMEOUT_SECONDS = 5
TOO_LARGE_BYTES = 3_000_000


class Refused(Exception):
    """The server refused something: Kafka's error code, and the words that came with it if any."""

    def __init__(self, code: int, words: str | None):
        super().__init__(f"error {code}: {words}")
        self.code, self.words = code, words


UNKNOWN_TOPIC_OR_PARTITION, MESSAGE_TOO_LARGE, INVALID_TOPIC, UNSUPPORTED_VERSION = 3, 10, 17, 35
TRANSACTIONAL_ID_AUTHORIZATION_FAILED = 53
TOPIC_ALREADY_EXISTS, INVALID_PARTITIONS, INVALID_REPLICATION_FACTOR, INVALID_CONFIG = 36, 37, 38, 40


class Client(abc.ABC):
    """One real client. Operations raise `Refused` where the server refuses, anything else where something is broken."""

    name: str
    version: str
    #: The sample file that this client can write.
    sample_file: str
    #: What this client cannot do or show, as names of cases to leave out.
    cannot: frozenset[str] = frozenset()
    #: Whether it shows the server's words of a refusal.
    shows_words = True

    def __init__(self, bootstrap: str, admin: str):
        self.bootstrap = bootstrap
        self.admin_address = admin

    @abc.abstractmethod
    def create_topic(self, topic: str, partitions: int, replication_factor: int = 1, configs: dict[str, str] | None = None) -> None:
        """Creates a topic and returns once it can be used."""

    @abc.abstractmethod
    def delete_topic(self, topic: str) -> None:
        """Deletes a topic."""

    @abc.abstractmethod
    def partition_count(self, topic: str) -> int | None:
        """Returns the number of partitions, or `None` if there is no such topic."""

    @abc.abstractmethod
    def topics(self) -> list[str]:
        """Returns the names of all topics."""

    @abc.abstractmethod
    def produce(self, topic: str, records: list[Sample], codec: str = "none", **how: typing.Any) -> list[int]:
        """Writes records to the partitions they name, and returns their offsets. `how`: `acks`, `idempotent`."""

    @abc.abstractmethod
    def produce_by_key(self, topic: str, keys: list[bytes]) -> None:
        """Writes records whose partition the client chooses by key, with Kafka's own partitioner where there is a choice."""

    @abc.abstractmethod
    def consume(self, topic: str, partition: int, offset: int, count: int) -> list[Sample]:
        """Reads `count` records of a partition from an offset on, or what comes before time runs out."""

    def consume_of_epoch(self, topic: str, partition: int, offset: int, count: int) -> list[Sample]:
        """Reads as `consume` does, after it has asked whether the leader epoch of the record before still ends after the offset."""
        raise NotImplementedError

    @abc.abstractmethod
    def offsets(self, topic: str, partition: int, timestamp: int | str) -> int | None:
        """Returns the offset for `"earliest"`, `"latest"` or a timestamp; `None` if no record is that late."""

    @abc.abstractmethod
    def describe_cluster(self) -> list[str]:
        """Returns the addresses of the cluster's brokers."""

    @abc.abstractmethod
    def topic_config(self, topic: str) -> dict[str, str]:
        """Returns a topic's configuration."""

    @abc.abstractmethod
    def create_partitions(self, topic: str, count: int) -> None:
        """Gives a topic more partitions, `count` in all."""

    @abc.abstractmethod
    def change_configs(self, topic: str, changes: dict[str, str | None]) -> None:
        """Changes some of a topic's configuration and leaves the rest; `None` goes back to the default."""

    @abc.abstractmethod
    def read_as_group(self, topic: str) -> None:
        """Joins a consumer group and polls for a while; returns if nothing happens."""

    @abc.abstractmethod
    def begin_transaction(self) -> None:
        """Asks for the right to write transactions."""

    def own_cases(self) -> dict[str, typing.Callable[["Client", str, list[Sample]], None]]:
        """Returns cases that only this client has."""
        return {}

    def shown(self, sample: Sample) -> Sample:
        """Returns a record as this client can show it."""
        return sample

    def close(self) -> None:
        """Closes what is open."""


class Cases:
    """Runs cases and prints how they went."""

    def __init__(self, client: Client, only: list[str]):
        self.client, self.only, self.failed = client, only, 0

    def wanted(self, name: str) -> bool:
        if name in self.client.cannot:
            return False
        return not self.only or any(name.startswith(start) for start in self.only)

    @contextlib.contextmanager
    def case(self, name: str) -> typing.Iterator[None]:
        label = f"{self.client.name} {self.client.version} {name}"
        signal.signal(signal.SIGALRM, on_alarm)
        signal.alarm(CASE_TIMEOUT_SECONDS)
        try:
            yield
            print(f"ok {label}", flush=True)
        except Exception as error:
            self.failed += 1
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            print(f"FAIL {label}: {reason[:400]}", flush=True)
        finally:
            signal.alarm(0)

    def run(self, name: str, function: typing.Callable[[], None]) -> None:
        if self.wanted(name):
            with self.case(name):
                function()


def on_alarm(*_: typing.Any) -> None:
    raise TimeoutError(f"not done after {CASE_TIMEOUT_SECONDS} seconds")


def main(make_client: typing.Callable[[str, str], Client]) -> typing.NoReturn:
    """Runs the cases that the command line asks for and exits."""
    parser = argparse.ArgumentParser()
    parser.add_argument("bootstrap", help="host:port of the server")
    parser.add_argument("--admin", help="where a client without admin commands has its topics made; by default the same server")
    parser.add_argument("--server", choices=["kafka", "keylane"], default="keylane", help="whose rules to expect where they differ")
    parser.add_argument("--prefix", default=f"t{int(time.time())}", help="begins the name of every topic")
    parser.add_argument("--samples", type=pathlib.Path, required=True, help="the folder of sample files")
    parser.add_argument("--read", nargs="*", metavar="TOPIC=FILE", help="only read what other clients wrote: topics with their sample files")
    parser.add_argument("--on-demand", action="store_true", help="only write to a topic that does not exist, which the server must permit")
    parser.add_argument("--only", nargs="*", default=[], help="only the cases whose name begins so")
    arguments = parser.parse_args()
    client = make_client(arguments.bootstrap, arguments.admin or arguments.bootstrap)
    cases = Cases(client, arguments.only)
    try:
        if arguments.read is not None:
            cross_reads(cases, arguments)
        elif arguments.on_demand:
            name = f"{arguments.prefix}-{client.name}-on-demand"
            cases.run("a topic is made on demand", lambda: made_on_demand(client, name))
        else:
            all_cases(cases, arguments)
    finally:
        client.close()
    sys.exit(1 if cases.failed else 0)


def cross_reads(cases: Cases, arguments: argparse.Namespace) -> None:
    for pair in arguments.read:
        topic, file = pair.split("=")
        cases.run(f"reads {topic.removeprefix(arguments.prefix + '-')}",
                  lambda: check_topic(cases.client, topic, samples.read(arguments.samples / file)))


def check_topic(client: Client, topic: str, expected: list[Sample]) -> None:
    """Reads every partition from its beginning to its end and compares every record."""
    for partition in range(samples.PARTITION_COUNT):
        records = [client.shown(sample) for sample in samples.of_partition(expected, partition)]
        assert client.offsets(topic, partition, "latest") == len(records), f"partition {partition} does not end at {len(records)}"
        found = client.consume(topic, partition, 0, len(records))
        samples.compare(records, found, f"partition {partition}")


def all_cases(cases: Cases, arguments: argparse.Namespace) -> None:
    client, prefix = cases.client, f"{arguments.prefix}-{cases.client.name}-{cases.client.version}"
    expected = samples.read(arguments.samples / client.sample_file)
    for codec in CODECS:
        cases.run(f"codec {codec}: every partition reads as written", lambda: codec_case(client, f"{prefix}-{codec}", codec, expected))
    for name, function in {
        "create topic": create_topic,
        "list topics": list_topics,
        "idempotent produce": idempotent_produce,
        "produce with acks 1": lambda client, topic, _: produce_with_acks(client, topic, 1),
        "produce with acks 0": lambda client, topic, _: produce_with_acks(client, topic, 0),
        "keyed produce": keyed_produce,
        "consume by offset": consume_by_offset,
        "consume by leader epoch": consume_by_leader_epoch,
        "list offsets": list_offsets,
        "a waiting reader gets a record written later": waiting_reader,
        "describe cluster": describe_cluster,
        "describe configs": describe_configs,
        "more partitions": more_partitions,
        "change configs": change_configs,
        "delete topic": delete_topic,
        "existing topic is refused": existing_topic_is_refused,
        "unknown topic is refused": unknown_topic_is_refused,
        "replication factor 3 is refused in words": replication_factor_is_refused,
        "no partitions is refused": no_partitions_is_refused,
        "bad topic name is refused": bad_topic_name_is_refused,
        "unknown config is refused": lambda client, topic, _: config_is_refused(client, topic, {"no.such.config": "1"}),
        "bad config value is refused": lambda client, topic, _: config_is_refused(client, topic, {"segment.bytes": "many"}),
        "fewer partitions is refused": fewer_partitions_is_refused,
        "more partitions of an unknown topic is refused": partitions_of_unknown_topic_is_refused,
        "unknown config change is refused": lambda client, topic, _: config_change_is_refused(client, topic, {"no.such.config": "1"}),
        "bad config change is refused": lambda client, topic, _: config_change_is_refused(client, topic, {"segment.bytes": "many"}),
        "too large a message is refused": too_large_message_is_refused,
        **client.own_cases(),
    }.items():
        topic = f"{prefix}-{name.replace(' ', '-')}"
        cases.run(name, lambda: function(client, topic, expected))
    if arguments.server == "keylane":
        not_served_yet(cases, prefix)


def not_served_yet(cases: Cases, prefix: str) -> None:
    """What Kafka has and Keylane has not must be refused at once and for good: a client that retries waits for ever."""
    client = cases.client
    cases.run("config without effect is refused",
              lambda: config_is_refused(client, f"{prefix}-no-effect", {"cleanup.policy": "compact"}))
    cases.run("consumer group is refused", lambda: group_is_refused(client, f"{prefix}-group"))
    cases.run("transaction is refused", lambda: expect_refusal(TRANSACTIONAL_ID_AUTHORIZATION_FAILED, client.begin_transaction))


def group_is_refused(client: Client, topic: str) -> None:
    client.create_topic(topic, 1)
    expect_refusal(UNSUPPORTED_VERSION, lambda: client.read_as_group(topic))


def codec_case(client: Client, topic: str, codec: str, expected: list[Sample]) -> None:
    client.create_topic(topic, samples.PARTITION_COUNT)
    offsets = client.produce(topic, expected, codec)
    for partition in range(samples.PARTITION_COUNT):
        placed = [offset for offset, sample in zip(offsets, expected) if sample.partition == partition]
        assert placed == list(range(len(placed))), f"partition {partition}: acknowledged offsets {placed}"
    check_topic(client, topic, expected)


def made_on_demand(client: Client, topic: str) -> None:
    keys = [b"%d" % number for number in range(100)]
    client.produce_by_key(topic, keys)
    count = client.partition_count(topic)
    ends = [client.offsets(topic, partition, "latest") for partition in range(count)]
    assert sum(ends) == len(keys), f"the partitions end at {ends}"


def create_topic(client: Client, topic: str, _: list[Sample]) -> None:
    assert client.partition_count(topic) is None, "the topic is there before it was created"
    client.create_topic(topic, samples.PARTITION_COUNT)
    assert client.partition_count(topic) == samples.PARTITION_COUNT
    for partition in range(samples.PARTITION_COUNT):
        assert client.offsets(topic, partition, "latest") == 0, "a new partition is not empty"


def list_topics(client: Client, topic: str, _: list[Sample]) -> None:
    for name in (f"{topic}-1", f"{topic}-2"):
        client.create_topic(name, 1)
    found = client.topics()
    missing = {f"{topic}-1", f"{topic}-2"} - set(found)
    assert not missing and len(found) == len(set(found)), f"{missing} are not among {found}"


def idempotent_produce(client: Client, topic: str, expected: list[Sample]) -> None:
    client.create_topic(topic, samples.PARTITION_COUNT)
    client.produce(topic, expected, "lz4", idempotent=True)
    check_topic(client, topic, expected)


def produce_with_acks(client: Client, topic: str, acks: int) -> None:
    client.create_topic(topic, 1)
    records = [Sample(0, int(time.time() * 1000), b"key", b"%d" % number) for number in range(20)]
    client.produce(topic, records, acks=acks)
    wait_until(lambda: client.offsets(topic, 0, "latest") == len(records), "the records do not arrive")
    found = client.consume(topic, 0, 0, len(records))
    assert [record.value for record in found] == [record.value for record in records]


def keyed_produce(client: Client, topic: str, _: list[Sample]) -> None:
    """Keys go where Kafka's Java client puts them, each key to one partition in order."""
    table = pathlib.Path(__file__).resolve().parents[2] / "protocol" / "tests" / "java_partitions.csv"
    rows = [line.split(",") for line in table.read_text().splitlines()[:200]]
    client.create_topic(topic, samples.PARTITION_COUNT)
    client.produce_by_key(topic, [row[0].encode() for row in rows])
    for partition in range(samples.PARTITION_COUNT):
        keys = [row[0].encode() for row in rows if int(row[1]) == partition]
        found = client.consume(topic, partition, 0, len(keys))
        assert [record.key for record in found] == keys, f"partition {partition} does not hold Java's keys in order"
        assert client.offsets(topic, partition, "latest") == len(keys)


def consume_by_offset(client: Client, topic: str, expected: list[Sample]) -> None:
    client.create_topic(topic, samples.PARTITION_COUNT)
    partition = samples.COUNTED_PARTITION
    records = samples.of_partition(expected, partition)
    client.produce(topic, records, "gzip")
    for offset in (0, 1, 57, len(records) - 1):
        found = client.consume(topic, partition, offset, len(records) - offset)
        samples.compare(records[offset:], found, f"from offset {offset}")


def consume_by_leader_epoch(client: Client, topic: str, expected: list[Sample]) -> None:
    """A reader that knows the epoch of what it has read asks where that epoch ends, lest its place is another's by now."""
    client.create_topic(topic, samples.PARTITION_COUNT)
    partition = samples.COUNTED_PARTITION
    records = samples.of_partition(expected, partition)
    client.produce(topic, records)
    for offset in (1, 57, len(records) - 1):
        found = client.consume_of_epoch(topic, partition, offset, len(records) - offset)
        samples.compare(records[offset:], found, f"from offset {offset}")


def list_offsets(client: Client, topic: str, expected: list[Sample]) -> None:
    client.create_topic(topic, samples.PARTITION_COUNT)
    partition = samples.COUNTED_PARTITION
    records = samples.of_partition(expected, partition)
    before_ms = int(time.time() * 1000)
    client.produce(topic, records, "none")
    assert client.offsets(topic, partition, "earliest") == 0
    assert client.offsets(topic, partition, "latest") == len(records)
    assert client.offsets(topic, samples.EMPTY_PARTITION, "latest") == 0
    if records[0].timestamp == -1:
        assert client.offsets(topic, partition, before_ms - 1000) == 0, "the first record since then"
    else:
        assert client.offsets(topic, partition, records[30].timestamp) == 30, "a record's own timestamp"
        assert client.offsets(topic, partition, records[30].timestamp + 1) == 31, "between two records"
        assert client.offsets(topic, partition, records[0].timestamp - 5000) == 0, "before the first record"
    assert client.offsets(topic, partition, before_ms + 86_400_000) is None, "after the last record"


def waiting_reader(client: Client, topic: str, _: list[Sample]) -> None:
    """The reader's request is already waiting at the server, at the end of the partition, when the record is written."""
    client.create_topic(topic, 1)
    writer_pause_seconds = 1.0
    record = Sample(0, int(time.time() * 1000), b"key", b"written later")
    writer = threading.Timer(writer_pause_seconds, lambda: client.produce(topic, [record]))
    writer.start()
    found = client.consume(topic, 0, 0, 1)
    writer.join()
    assert [sample.value for sample in found] == [record.value]


def describe_cluster(client: Client, topic: str, _: list[Sample]) -> None:
    addresses = client.describe_cluster()
    assert client.bootstrap in addresses, f"{client.bootstrap} is not among {addresses}"


def describe_configs(client: Client, topic: str, _: list[Sample]) -> None:
    client.create_topic(topic, 1, configs={"segment.bytes": "16777216"})
    found = client.topic_config(topic)
    assert found.get("segment.bytes") == "16777216", f"segment.bytes is {found.get('segment.bytes')}"


def more_partitions(client: Client, topic: str, _: list[Sample]) -> None:
    """What is there stays where it is; the new partitions are empty, and can be used at once."""
    client.create_topic(topic, 2)
    records = [Sample(partition, int(time.time() * 1000), b"key", b"written before") for partition in (0, 1, 1)]
    assert client.produce(topic, records) == [0, 0, 1]
    client.create_partitions(topic, 5)
    wait_until(lambda: client.partition_count(topic) == 5, "the new partitions are not in the metadata")
    ends = [client.offsets(topic, partition, "latest") for partition in range(5)]
    assert ends == [1, 2, 0, 0, 0], f"the partitions end at {ends}"
    record = Sample(4, int(time.time() * 1000), b"key", b"written after")
    assert client.produce(topic, [record]) == [0]
    assert [found.value for found in client.consume(topic, 4, 0, 1)] == [record.value]
    assert [found.value for found in client.consume(topic, 1, 0, 2)] == [b"written before"] * 2


def change_configs(client: Client, topic: str, _: list[Sample]) -> None:
    """A change has its effect, leaves other settings alone, and can be taken back."""
    client.create_topic(topic, 1, configs={"segment.bytes": "16777216"})
    default = client.topic_config(topic)["max.message.bytes"]
    record = Sample(0, int(time.time() * 1000), b"key", b"x" * 5000)
    assert client.produce(topic, [record]) == [0]
    client.change_configs(topic, {"max.message.bytes": "2000"})
    wait_until(lambda: client.topic_config(topic)["max.message.bytes"] == "2000", "the change is not there")
    expect_refusal(MESSAGE_TOO_LARGE, lambda: client.produce(topic, [record]))
    client.change_configs(topic, {"max.message.bytes": None, "segment.bytes": "33554432"})
    wait_until(lambda: client.topic_config(topic)["max.message.bytes"] == default, "the default is not back")
    assert client.topic_config(topic)["segment.bytes"] == "33554432"
    assert client.produce(topic, [record]) == [1]


def delete_topic(client: Client, topic: str, _: list[Sample]) -> None:
    client.create_topic(topic, 1)
    client.produce(topic, [Sample(0, int(time.time() * 1000), b"key", b"of the first topic")])
    client.delete_topic(topic)
    wait_until(lambda: client.partition_count(topic) is None, "the topic is still there")
    client.create_topic(topic, 2)
    assert client.partition_count(topic) == 2
    assert client.offsets(topic, 0, "latest") == 0, "a topic of the same name has the old one's records"


def existing_topic_is_refused(client: Client, topic: str, _: list[Sample]) -> None:
    client.create_topic(topic, 1)
    expect_refusal(TOPIC_ALREADY_EXISTS, lambda: client.create_topic(topic, 1))


def unknown_topic_is_refused(client: Client, topic: str, _: list[Sample]) -> None:
    assert client.partition_count(topic) is None
    expect_refusal(UNKNOWN_TOPIC_OR_PARTITION, lambda: client.delete_topic(topic))
    assert client.partition_count(topic) is None, "asking for a topic created it"


def replication_factor_is_refused(client: Client, topic: str, _: list[Sample]) -> None:
    refusal = expect_refusal(INVALID_REPLICATION_FACTOR, lambda: client.create_topic(topic, 1, replication_factor=3))
    assert refusal.words and len(refusal.words) > 20, f"the refusal says only {refusal.words!r}"
    assert client.partition_count(topic) is None


def no_partitions_is_refused(client: Client, topic: str, _: list[Sample]) -> None:
    expect_refusal(INVALID_PARTITIONS, lambda: client.create_topic(topic, 0))


def bad_topic_name_is_refused(client: Client, _: str, __: list[Sample]) -> None:
    for name in ("../x", "with space", "n" * 250, "."):
        expect_refusal(INVALID_TOPIC, lambda: client.create_topic(name, 1))


def config_is_refused(client: Client, topic: str, configs: dict[str, str]) -> None:
    refusal = expect_refusal(INVALID_CONFIG, lambda: client.create_topic(topic, 1, configs=configs))
    key = next(iter(configs))
    assert key in (refusal.words or "") or not client.shows_words, f"the refusal does not name {key}: {refusal.words!r}"
    assert client.partition_count(topic) is None


def fewer_partitions_is_refused(client: Client, topic: str, _: list[Sample]) -> None:
    client.create_topic(topic, 2)
    for count in (1, 2):
        expect_refusal(INVALID_PARTITIONS, lambda: client.create_partitions(topic, count))
    assert client.partition_count(topic) == 2


def partitions_of_unknown_topic_is_refused(client: Client, topic: str, _: list[Sample]) -> None:
    expect_refusal(UNKNOWN_TOPIC_OR_PARTITION, lambda: client.create_partitions(topic, 2))
    assert client.partition_count(topic) is None, "asking for a topic created it"


def config_change_is_refused(client: Client, topic: str, changes: dict[str, str]) -> None:
    client.create_topic(topic, 1)
    before = client.topic_config(topic)
    refusal = expect_refusal(INVALID_CONFIG, lambda: client.change_configs(topic, changes))
    key = next(iter(changes))
    assert key in (refusal.words or "") or not client.shows_words, f"the refusal does not name {key}: {refusal.words!r}"
    assert client.topic_config(topic) == before


def too_large_message_is_refused(client: Client, topic: str, _: list[Sample]) -> None:
    client.create_topic(topic, 1)
    large = Sample(0, int(time.time() * 1000), b"key", b"x" * TOO_LARGE_BYTES)
    expect_refusal(MESSAGE_TOO_LARGE, lambda: client.produce(topic, [large]))
    small = Sample(0, int(time.time() * 1000), b"key", b"fits")
    assert client.produce(topic, [small]) == [0], "the topic takes no record after a refusal"


def expect_refusal(code: int, operation: typing.Callable[[], typing.Any]) -> Refused:
    """Returns the refusal of an operation, which must have this error code."""
    try:
        operation()
    except Refused as refusal:
        assert refusal.code == code, f"refused with {refusal}, expected error {code}"
        return refusal
    raise AssertionError(f"not refused, expected error {code}")


def wait_until(condition: typing.Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + OPERATION_TIMEOUT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"{what} after {OPERATION_TIMEOUT_SECONDS} seconds"
        time.sleep(0.05)
