"""Starts the server under test, Keylane or Apache Kafka, and stops it cleanly."""

import contextlib
import json
import os
import pathlib
import subprocess
import threading
import typing

HERE = pathlib.Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
READY_TIMEOUT_SECONDS = 300
STOP_TIMEOUT_SECONDS = 30


class Server(typing.NamedTuple):
    """A server that serves: its address, and how it ended once the `with` block is left."""

    address: str
    process: subprocess.Popen


@contextlib.contextmanager
def keylane(data: pathlib.Path) -> typing.Iterator[Server]:
    """Runs one Keylane broker on a data folder."""
    binary = pathlib.Path(os.environ.get("KEYLANE_BINARY", REPOSITORY / "target" / "release" / "keylane"))
    if not binary.exists():
        raise SystemExit(f"{binary} is missing: build it with `cargo build --release` or name one in KEYLANE_BINARY")
    command = [str(binary), "broker", "--id", "1", "--data", str(data), "--port", "0", "--until-stdin-closes"]
    with started(command, {"KEYLANE_LOG": "warn"}) as server:
        yield server


@contextlib.contextmanager
def apache_kafka() -> typing.Iterator[Server]:
    """Runs one Apache Kafka with a temporary data folder."""
    with started([str(HERE / "apache-kafka"), "--until-stdin-closes"], {"KAFKA_LOG_LEVEL": "error"}) as server:
        yield server


@contextlib.contextmanager
def started(command: list[str], environment: dict[str, str]) -> typing.Iterator[Server]:
    """Runs a server that prints one JSON line when it is ready and ends when its standard input does."""
    # What the caller set counts more than what is set here.
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**environment, **os.environ})
    # A server that never gets ready is ended, which ends its output too.
    watchdog = threading.Timer(READY_TIMEOUT_SECONDS, process.kill)
    watchdog.start()
    try:
        line = process.stdout.readline()
        watchdog.cancel()
        if not line:
            raise SystemExit(f"{command[0]} did not become ready (code {process.wait()})")
        yield Server(json.loads(line)["kafka"], process)
    finally:
        watchdog.cancel()
        process.stdin.close()
        try:
            process.wait(STOP_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
