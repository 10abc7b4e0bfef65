"""Starts the servers under test, Keylane or Apache Kafka, and stops them cleanly."""

import contextlib
import json
import os
import pathlib
import socket
import subprocess
import threading
import typing

HERE = pathlib.Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
READY_TIMEOUT_SECONDS = 300
STOP_TIMEOUT_SECONDS = 30
BROKERS = 3
#: Warnings alone, unless the caller says otherwise.
KEYLANE_ENVIRONMENT = {"KEYLANE_LOG": "warn"}


class Server(typing.NamedTuple):
    """A server that serves: where clients and where other nodes reach it, and its process."""

    address: str
    internal: str | None
    process: subprocess.Popen


@contextlib.contextmanager
def keylane(data: pathlib.Path) -> typing.Iterator[Server]:
    """Runs one Keylane broker on a data folder."""
    with started([binary(), "broker", "--id", "1", "--data", str(data), "--port", "0"], KEYLANE_ENVIRONMENT) as server:
        yield server


@contextlib.contextmanager
def apache_kafka() -> typing.Iterator[Server]:
    """Runs one Apache Kafka with a temporary data folder."""
    with started([str(HERE / "apache-kafka")], {"KAFKA_LOG_LEVEL": "error"}) as server:
        yield server


class Cluster:
    """Three Keylane brokers that vote, and routers in front of them; all of them end with the `with` block."""

    def __init__(self, folder: pathlib.Path, *flags: str):
        self.folder, self.flags = folder, flags
        self.voters = [f"127.0.0.1:{port}" for port in free_ports(BROKERS)]
        self.brokers: list[Server] = []
        self.routers: list[Server] = []

    def __enter__(self) -> "Cluster":
        # They wait for one another, when they start and when they stop.
        beginning = [self._begin_broker(index) for index in range(BROKERS)]
        self.brokers = [ready(process) for process in beginning]
        return self

    def __exit__(self, *_) -> None:
        for servers in (self.routers, self.brokers):
            for server in servers:
                server.process.stdin.close()
            for server in servers:
                end(server.process)

    def start_router(self, *more: str) -> Server:
        """Starts a router that finds the cluster by its first brokers."""
        listen = [] if "--listen" in more else ["--listen", "127.0.0.1:0"]
        router = ready(begin([binary(), "router", "--brokers", ",".join(self.voters), *listen, *more], KEYLANE_ENVIRONMENT))
        self.routers.append(router)
        return router

    def start_broker_again(self, index: int) -> None:
        """Starts a broker whose process has ended, at the same internal address."""
        self.brokers[index] = ready(self._begin_broker(index))

    def _begin_broker(self, index: int) -> subprocess.Popen:
        voters = ",".join(f"{number + 1}@{address}" for number, address in enumerate(self.voters))
        return begin([binary(), "broker", "--id", str(index + 1), "--data", str(self.folder / f"broker-{index + 1}"), "--port", "0",
                      "--internal-listen", self.voters[index], "--voters", voters, "--session", "2s",
                      *(["--bootstrap"] if index == 0 else []), *self.flags], KEYLANE_ENVIRONMENT)

def binary() -> str:
    chosen = pathlib.Path(os.environ.get("KEYLANE_BINARY", REPOSITORY / "target" / "release" / "keylane"))
    if not chosen.exists():
        raise SystemExit(f"{chosen} is missing: build it with `cargo build --release` or name one in KEYLANE_BINARY")
    return str(chosen)


def free_ports(count: int) -> list[int]:
    """Returns ports that were free just now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [listener.getsockname()[1] for listener in sockets]
    for listener in sockets:
        listener.close()
    return ports


@contextlib.contextmanager
def started(command: list[str], environment: dict[str, str]) -> typing.Iterator[Server]:
    """Runs a server until the `with` block is left; it has then ended."""
    process = begin(command, environment)
    try:
        yield ready(process)
    finally:
        end(process)


def begin(command: list[str], environment: dict[str, str]) -> subprocess.Popen:
    """Begins a server that prints one JSON line when it is ready and ends when its standard input does."""
    # What the caller set counts more than what is set here.
    return subprocess.Popen([*command, "--until-stdin-closes"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                            env={**environment, **os.environ})


def ready(process: subprocess.Popen) -> Server:
    """Waits until a server serves."""
    # A server that never gets ready is ended, which ends its output too.
    watchdog = threading.Timer(READY_TIMEOUT_SECONDS, process.kill)
    watchdog.start()
    try:
        line = process.stdout.readline()
    finally:
        watchdog.cancel()
    if not line:
        raise SystemExit(f"{process.args[0]} did not become ready (code {process.wait()})")
    announced = json.loads(line)
    return Server(announced["kafka"], announced.get("internal"), process)


def end(process: subprocess.Popen) -> None:
    """Stops a server, by force if it does not by itself."""
    process.stdin.close()
    try:
        process.wait(STOP_TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
