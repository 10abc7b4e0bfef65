"""The records that every client writes and every client must read back: made once a run, kept as text files.

One line per record, in the order of its partition: partition, timestamp, key, value and headers, separated by tabs. Bytes are
hexadecimal, `~` is null, headers are `name:value` separated by commas. Timestamp -1 stands for "whatever the writer set".
"""

import pathlib
import random
import typing

NULL = "~"
PARTITION_COUNT = 6
EMPTY_PARTITION = 5
COUNTED_PARTITION = 1
COUNTED_RECORDS = 120
TIMESTAMP_STEP_MS = 1000


class Sample(typing.NamedTuple):
    partition: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()


def write_samples(folder: pathlib.Path, now_ms: int) -> None:
    """Writes the sample files: one per group of clients that can express the same records."""
    everything = all_samples(now_ms - 3_600_000)
    write(folder / "full.tsv", everything)
    # kafka-python refuses a record without key and value, and a header without value.
    write(folder / "kafka-python.tsv", [sample for sample in everything if has_content(sample)])
    # kafkajs keeps headers by name.
    write(folder / "kafkajs.tsv", [sample for sample in everything if has_content(sample) and has_plain_headers(sample)])
    write(folder / "kcat.tsv", kcat_samples())


def write_short_samples(folder: pathlib.Path, now_ms: int) -> None:
    """Writes the sample files without their large records, for runs that are after requests and not after records."""
    write_samples(folder, now_ms)
    for path in folder.glob("*.tsv"):
        write(path, [sample for sample in read(path) if is_short(sample)])


def is_short(sample: Sample) -> bool:
    return len(sample.key or b"") < 200 and len(sample.value or b"") < 200 and len(sample.headers) < 5


def has_content(sample: Sample) -> bool:
    headers_have_values = all(value is not None for _, value in sample.headers)
    return headers_have_values and (sample.key is not None or sample.value is not None)


def has_plain_headers(sample: Sample) -> bool:
    names = [name for name, _ in sample.headers]
    return len(names) == len(set(names))


def all_samples(start_ms: int) -> list[Sample]:
    """Returns records of many shapes over five of the six partitions; the last partition stays empty."""
    source = random.Random(20130101)
    shapes: dict[int, list[tuple]] = {
        0: [(b"only", b"one record", ())],
        COUNTED_PARTITION: [(b"%d" % number, b"record number %d" % number, ()) for number in range(COUNTED_RECORDS)],
        2: odd_shapes(source),
        3: large_shapes(source),
        4: [(b"N14228", b"leg %d of one aircraft" % leg, (("leg", b"%d" % leg),)) for leg in range(40)],
    }
    return [Sample(partition, start_ms + position * TIMESTAMP_STEP_MS, *shape)
            for partition, list_of_shapes in shapes.items()
            for position, shape in enumerate(list_of_shapes)]


def odd_shapes(source: random.Random) -> list[tuple]:
    return [
        (None, b"no key", ()),
        (b"deleted", None, ()),
        (None, None, ()),
        (b"", b"", ()),
        (b"", None, ()),
        (b"empty value", b"", ()),
        (bytes(range(256)), bytes(reversed(range(256))), ()),
        ("Zürich → 東京 ✈".encode(), "naïve café 🛫".encode(), (("länge", "größe".encode()),)),
        (b"headers", b"two of one name, in order", (("a", b"1"), ("b", b"2"), ("a", b"3"))),
        (b"empty header", b"value", (("empty", b""), ("", b"no name"))),
        (b"null header", b"value", (("null", None),)),
        (b"binary header", b"value", (("bytes", bytes(range(0, 256, 7))),)),
        (b"many headers", b"value", tuple((f"h{number}", b"%d" % number) for number in range(100))),
        (source.randbytes(1000), source.randbytes(10), ()),
    ]


def large_shapes(source: random.Random) -> list[tuple]:
    return [
        (b"compressible", b"one record of New York's airports, " * 8000, ()),
        (b"incompressible", source.randbytes(300_000), ()),
        (b"small between large", b"x", ()),
        (b"nearly the limit", source.randbytes(900_000), ()),
        (b"after", b"y" * 100_000, ()),
    ]


def kcat_samples() -> list[Sample]:
    """Returns what kcat's input of lines can express: no binary, empty only as null, the same headers everywhere."""
    headers = (("a", b"1"), ("b", b"two"), ("a", b"3"))
    shapes: dict[int, list[tuple]] = {
        0: [(b"only", b"one record")],
        COUNTED_PARTITION: [(b"%d" % number, b"record number %d" % number) for number in range(COUNTED_RECORDS)],
        2: [(None, b"no key"), (b"deleted", None), ("Zürich → 東京 ✈".encode(), "naïve café 🛫".encode())],
        3: [(b"compressible", b"one record of New York's airports, " * 8000), (b"after", b"y" * 100_000)],
        4: [(b"N14228", b"leg %d of one aircraft" % leg) for leg in range(40)],
    }
    return [Sample(partition, -1, *shape, headers)
            for partition, list_of_shapes in shapes.items() for shape in list_of_shapes]


def write(path: pathlib.Path, samples: list[Sample]) -> None:
    path.write_text("".join(as_line(sample) for sample in samples))


def as_line(sample: Sample) -> str:
    headers = ",".join(f"{name.encode().hex()}:{as_text(value)}" for name, value in sample.headers)
    return "\t".join([str(sample.partition), str(sample.timestamp), as_text(sample.key), as_text(sample.value), headers]) + "\n"


def as_text(value: bytes | None) -> str:
    return NULL if value is None else value.hex()


def read(path: pathlib.Path) -> list[Sample]:
    """Returns the samples of a file."""
    return [from_line(line) for line in path.read_text().splitlines()]


def from_line(line: str) -> Sample:
    partition, timestamp, key, value, headers = line.split("\t")
    pairs = (pair.split(":") for pair in headers.split(",") if pair)
    return Sample(int(partition), int(timestamp), from_text(key), from_text(value),
                  tuple((bytes.fromhex(name).decode(), from_text(content)) for name, content in pairs))


def from_text(text: str) -> bytes | None:
    return None if text == NULL else bytes.fromhex(text)


def of_partition(samples: list[Sample], partition: int) -> list[Sample]:
    return [sample for sample in samples if sample.partition == partition]


def compare(expected: list[Sample], found: list[Sample], what: str) -> None:
    """Raises `AssertionError` naming the first record that is missing, out of order, doubled or different."""
    for position, (wanted, got) in enumerate(zip(expected, found)):
        if wanted.timestamp == -1:
            got = got._replace(timestamp=-1)
        for field in Sample._fields:
            wanted_field, got_field = getattr(wanted, field), getattr(got, field)
            assert wanted_field == got_field, (
                f"{what}: record {position}: {field} is {shortened(got_field)}, expected {shortened(wanted_field)}")
    assert len(expected) == len(found), f"{what}: {len(found)} records, expected {len(expected)}"


def shortened(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}... ({len(text)} characters)"
