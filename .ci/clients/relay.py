"""A relay between one client and one Kafka server that notes what passes: API versions, and whole frames if asked.

The client must not find the server behind the relay. The server listens on 127.0.0.1; the relay listens on the same port of
another loopback address of the same length, and writes its own address over the server's in the answers that carry one.
It can also lower the versions that the server offers, so that one server shows how a client speaks older versions.
"""

import asyncio
import collections
import struct
import threading
import typing

SERVER_HOST = b"127.0.0.1"
FRAME_BYTES_MAX = 100 * 1024 * 1024

PRODUCE, FETCH, METADATA, FIND_COORDINATOR, API_VERSIONS, DESCRIBE_CLUSTER = 0, 1, 3, 10, 18, 60
# Produce from version 10 and Fetch from 16 name the new leader's address. No record of the tests contains the address.
ANSWERS_WITH_ADDRESSES = {PRODUCE, FETCH, METADATA, FIND_COORDINATOR, DESCRIBE_CLUSTER}

API_NAMES = {
    0: "Produce", 1: "Fetch", 2: "ListOffsets", 3: "Metadata", 8: "OffsetCommit", 9: "OffsetFetch", 10: "FindCoordinator",
    11: "JoinGroup", 12: "Heartbeat", 13: "LeaveGroup", 14: "SyncGroup", 18: "ApiVersions", 19: "CreateTopics",
    20: "DeleteTopics", 21: "DeleteRecords", 22: "InitProducerId", 23: "OffsetForLeaderEpoch", 32: "DescribeConfigs",
    33: "AlterConfigs", 37: "CreatePartitions", 44: "IncrementalAlterConfigs", 60: "DescribeCluster", 71: "GetTelemetrySubscriptions",
    72: "PushTelemetry", 74: "ListConfigResources", 75: "DescribeTopicPartitions",
}

Exchange = collections.namedtuple("Exchange", "api_key version request response")


class Relay:
    """Relays connections on `host` (for example 127.0.0.2) to 127.0.0.1, both at `port`."""

    def __init__(self, host: str, port: int, keep_frames: bool = False, highest_versions: dict[int, int] | None = None,
                 watch: typing.Callable[[Exchange], None] = lambda _: None):
        assert len(host) == len(SERVER_HOST), "the addresses must be equally long to be exchanged in place"
        self.host, self.port = host, port
        self.address = f"{host}:{port}"
        self.versions: dict[int, set[int]] = collections.defaultdict(set)
        self.offered: dict[int, tuple[int, int]] = {}
        self.batches: set[tuple[str, str, bool]] = set()
        self.exchanges: list[Exchange] = []
        self._keep_frames = keep_frames
        self._watch = watch
        self._highest_versions = highest_versions or {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> "Relay":
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)
        return self

    def __exit__(self, *_) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, self.host, self.port)

    async def _close(self) -> None:
        self._server.close()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, client_reader, client_writer) -> None:
        server_writer = None
        try:
            server_reader, server_writer = await asyncio.open_connection(SERVER_HOST.decode(), self.port)
            waiting: dict[int, tuple[int, int, bytes]] = {}
            halves = [asyncio.ensure_future(self._requests(client_reader, server_writer, waiting)),
                      asyncio.ensure_future(self._responses(server_reader, client_writer, waiting))]
            await asyncio.wait(halves, return_when=asyncio.FIRST_COMPLETED)
            for half in halves:
                half.cancel()
            await asyncio.gather(*halves, return_exceptions=True)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            for writer in (client_writer, server_writer):
                if writer is not None:
                    writer.close()

    async def _requests(self, reader, writer, waiting) -> None:
        while (frame := await read_frame(reader)) is not None:
            api_key, version, correlation = struct.unpack_from(">hhi", frame)
            self.versions[api_key].add(version)
            waiting[correlation] = (api_key, version, frame)
            if api_key == PRODUCE:
                self.batches.update(produced_batches(frame, version))
            await write_frame(writer, frame)

    async def _responses(self, reader, writer, waiting) -> None:
        while (frame := await read_frame(reader)) is not None:
            (correlation,) = struct.unpack_from(">i", frame)
            api_key, version, request = waiting.pop(correlation, (-1, -1, b""))
            exchange = Exchange(api_key, version, request, frame)
            self._watch(exchange)
            if self._keep_frames:
                self.exchanges.append(exchange)
            if api_key in ANSWERS_WITH_ADDRESSES:
                frame = frame.replace(SERVER_HOST, self.host.encode())
            if api_key == API_VERSIONS:
                frame = with_lower_versions(frame, version, self._highest_versions)
                self.offered = {key: (lowest, highest) for _, key, lowest, highest in version_ranges(frame, version)}
            await write_frame(writer, frame)


async def read_frame(reader) -> bytes | None:
    """Returns the next frame without its length, or `None` at the end of the connection."""
    try:
        (length,) = struct.unpack(">i", await reader.readexactly(4))
        if not 4 <= length <= FRAME_BYTES_MAX:
            return None
        return await reader.readexactly(length)
    except (asyncio.IncompleteReadError, OSError):
        return None


async def write_frame(writer, frame: bytes) -> None:
    writer.write(struct.pack(">i", len(frame)) + frame)
    await writer.drain()


def with_lower_versions(frame: bytes, version: int, highest: dict[int, int]) -> bytes:
    """Returns an ApiVersions answer in which no API listed in `highest` is offered above the version named there."""
    answer = bytearray(frame)
    for at, api_key, lowest, offered in version_ranges(frame, version):
        if api_key in highest:
            struct.pack_into(">h", answer, at + 4, max(lowest, min(offered, highest[api_key])))
    return bytes(answer)


def version_ranges(frame: bytes, version: int) -> list[tuple[int, int, int, int]]:
    """Returns place, API key, lowest and highest version of every entry of an ApiVersions answer."""
    fields = Fields(frame, 4)
    # An unsupported version is answered in the oldest format, with error 35.
    fields.flexible = fields.number("h") == 0 and version >= 3
    ranges = []
    for _ in range(fields.length("i")):
        ranges.append((fields.at, fields.number("h"), fields.number("h"), fields.number("h")))
        fields.skip_tags()
    return ranges


def client_id(request: bytes) -> str:
    """Returns how the client of a request calls itself."""
    return Fields(request, 8).bytes("h", flexible=False).decode()


Metadata = collections.namedtuple("Metadata", "nodes leaders")


def told_metadata(frame: bytes, version: int) -> Metadata:
    """Returns the nodes of a Metadata answer of version 1 to 12, as pairs of id and address, and each partition's leader."""
    fields = Fields(frame, 4)
    fields.flexible = version >= 9
    fields.skip_tags()
    if version >= 3:
        fields.number("i")  # throttle time
    nodes, leaders = [], {}
    for _ in range(fields.length("i")):
        node, host, port = fields.number("i"), fields.bytes("h").decode(), fields.number("i")
        fields.bytes("h")  # rack
        fields.skip_tags()
        nodes.append((node, f"{host}:{port}"))
    if version >= 2:
        fields.bytes("h")  # cluster id
    fields.number("i")  # controller id
    for _ in range(fields.length("i")):
        fields.number("h")  # error
        topic = fields.bytes("h").decode()
        fields.at += 16 if version >= 10 else 0
        fields.number("b")  # is internal
        for _ in range(fields.length("i")):
            fields.number("h")  # error
            index, leader = fields.number("i"), fields.number("i")
            if version >= 7:
                fields.number("i")  # leader epoch
            for _ in range(3 if version >= 5 else 2):  # replicas, in-sync replicas, offline replicas
                count = fields.length("i")
                fields.at += 4 * count
            fields.skip_tags()
            leaders[topic, index] = leader
        if version >= 8:
            fields.number("i")  # authorized operations
        fields.skip_tags()
    return Metadata(nodes, leaders)


CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]


def produced_batches(frame: bytes, version: int) -> set[tuple[str, str, bool]]:
    """Returns topic, codec and "is idempotent" of every batch of a Produce request of version 3 to 12."""
    fields = Fields(frame, 8)
    fields.bytes("h", flexible=False)  # client id, which is never compact
    fields.flexible = version >= 9
    fields.skip_tags()
    fields.bytes("h")  # transactional id
    fields.number("h"), fields.number("i")  # acks, timeout
    found = set()
    for _ in range(fields.length("i")):
        topic = fields.bytes("h").decode() if version <= 12 else ""
        if version > 12:
            fields.at += 16
        for _ in range(fields.length("i")):
            fields.number("i")  # partition
            records = fields.bytes("i")
            fields.skip_tags()
            (attributes,) = struct.unpack_from(">h", records, 21)
            (producer_id,) = struct.unpack_from(">q", records, 43)
            found.add((topic, CODECS[attributes & 7], producer_id >= 0))
        fields.skip_tags()
    return found


class Fields:
    """Reads the fields of a message one after the other; `flexible` messages have compact lengths and tagged fields."""

    def __init__(self, frame: bytes, at: int):
        self.frame, self.at, self.flexible = frame, at, False

    def number(self, kind: str) -> int:
        (value,) = struct.unpack_from(f">{kind}", self.frame, self.at)
        self.at += struct.calcsize(f">{kind}")
        return value

    def length(self, kind: str, flexible: bool | None = None) -> int:
        """Returns the length of an array, a string or bytes; null counts as empty."""
        compact = self.flexible if flexible is None else flexible
        return max(0, self.varint() - 1 if compact else self.number(kind))

    def bytes(self, kind: str, flexible: bool | None = None) -> bytes:
        length = self.length(kind, flexible)
        self.at += length
        return self.frame[self.at - length:self.at]

    def varint(self) -> int:
        value = shift = 0
        while True:
            byte = self.frame[self.at]
            self.at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    def skip_tags(self) -> None:
        if self.flexible:
            for _ in range(self.varint()):
                self.varint()
                self.at += self.varint()
