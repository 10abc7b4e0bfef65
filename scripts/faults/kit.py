"""Brokers, routers and clients as processes, and what they use: shared by the scripts beside it."""

import contextlib
import json
import os
import pathlib
import re
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time
import typing

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
BUILT = pathlib.Path(os.environ.get("KEYLANE_BUILT", REPOSITORY / "target" / "release"))
READY_SECONDS = 60
RECORD_BYTES = 1024


class Server:
    """A process that prints one JSON line when it is ready and ends when its standard input does."""

    def __init__(self, *arguments: str):
        command = [str(binary("keylane")), *arguments, "--until-stdin-closes"]
        environment = {"KEYLANE_LOG": "warn", **os.environ}
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)

    def wait_until_ready(self) -> dict:
        watchdog = threading.Timer(READY_SECONDS, self.process.kill)
        watchdog.start()
        line = self.process.stdout.readline()
        watchdog.cancel()
        if not line:
            raise SystemExit(f"a server did not become ready (code {self.process.wait()})")
        self.ready = json.loads(line)
        return self.ready

    def freeze(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def memory_bytes(self, field: str = "VmRSS") -> int:
        """Returns how much memory the process has now; `VmHWM` is the most it has had."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(rf"{field}:\s+(\d+) kB", status)[1]) * 1024

    def stop(self) -> None:
        if self.process.poll() is None:
            self.thaw()
            self.process.stdin.close()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()


class Cluster:
    """Brokers that all vote, and routers in front of them."""

    def __init__(self, folder: pathlib.Path, brokers: int):
        self.folder = folder
        self.internal = [f"127.0.0.1:{port}" for port in free_ports(brokers)]
        self.brokers = [self.broker(index) for index in range(brokers)]
        self.routers: list[Server] = []
        for broker in self.brokers:
            broker.wait_until_ready()

    def broker(self, index: int) -> Server:
        voters = ",".join(f"{place + 1}@{address}" for place, address in enumerate(self.internal))
        arguments = ["broker", "--id", str(index + 1), "--data", str(self.folder / f"broker-{index + 1}"), "--port", "0"]
        arguments += ["--voters", voters, "--internal-listen", self.internal[index], "--session", "2s"]
        return Server(*arguments, *(["--bootstrap"] if index == 0 else []))

    def router(self, *more: str) -> Server:
        listen = [] if "--listen" in more else ["--listen", "127.0.0.1:0"]
        router = Server("router", *listen, "--brokers", ",".join(self.internal), *more)
        self.routers.append(router)
        router.wait_until_ready()
        return router

    def stop(self) -> None:
        for server in self.routers + self.brokers:
            server.thaw()
        for server in self.routers + self.brokers:
            server.stop()


@contextlib.contextmanager
def cluster(brokers: int) -> typing.Iterator[Cluster]:
    """Runs brokers on a folder that goes with them."""
    with tempfile.TemporaryDirectory(prefix="keylane-faults-", dir=os.environ.get("KEYLANE_SCRATCH")) as folder:
        running = Cluster(pathlib.Path(folder), brokers)
        try:
            yield running
        finally:
            running.stop()


def binary(name: str) -> pathlib.Path:
    path = BUILT / name
    if not path.exists():
        raise SystemExit(f"{path} is missing: build it as scripts/faults/README.md says, or name its folder in KEYLANE_BUILT")
    return path


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def kafka(server: Server) -> str:
    return server.ready["kafka"]


def keylane(server: Server, *arguments: str) -> str:
    """Runs a command of `keylane` against a server and returns what it prints."""
    command = [str(binary("keylane")), *arguments, "--connect", kafka(server)]
    return subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE, timeout=60).stdout


def leaders(server: Server, topic: str) -> dict[int, int]:
    """Returns which broker leads each partition, as a broker tells it."""
    described = json.loads(keylane(server, "topic", "describe", topic, "--json"))
    return {each["partition"]: each["leader"] for each in described["partitions"]}


class Steady:
    """A client that sends to partitions at a rate; its lines are read as they come.

    It is Keylane's own, or with `program` another one that is told and tells the same.
    """

    def __init__(self, server: Server, topic: str, partitions: typing.Iterable[int], rate: int, seconds: int, program: list[str] | None = None):
        chosen = ",".join(map(str, partitions))
        program = program or [str(binary("examples/steady"))]
        command = [*program, kafka(server), topic, chosen, str(rate), str(seconds), str(RECORD_BYTES)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.lines: list[dict] = []
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self) -> None:
        for line in self.process.stdout:
            self.lines.append({**json.loads(line), "at": time.monotonic()})

    def end(self) -> None:
        self.process.wait(120)
        self.thread.join()

    def stop(self) -> None:
        self.process.kill()
        self.end()

    def rate(self, partitions: typing.Iterable[int], since: float, until: float) -> float:
        """Returns how many records a second were acknowledged in partitions between two moments."""
        lines = self._between(since, until)
        counts = [line["partitions"][str(index)]["acknowledged"] for line in lines for index in partitions]
        return sum(counts) / max(1, len(lines))

    def failed(self) -> int:
        return sum(each["failed"] for line in self.lines for each in line["partitions"].values())

    def latency_ms(self, partitions: typing.Iterable[int], since: float, until: float, quantile: float) -> float:
        wanted = [str(index) for index in partitions]
        lines = self._between(since, until)
        latencies = sorted(each for line in lines for index in wanted for each in line["partitions"][index]["latencies_us"])
        return latencies[min(len(latencies) - 1, int(len(latencies) * quantile))] / 1000 if latencies else float("inf")

    def _between(self, since: float, until: float) -> list[dict]:
        return [line for line in self.lines if since <= line["at"] - 1 and line["at"] <= until]


def frame(api: int, version: int, body: bytes, correlation: int = 1) -> bytes:
    """Returns a request of a version before the flexible ones, of a client without a name."""
    header = struct.pack(">hhih", api, version, correlation, -1)
    return struct.pack(">i", len(header) + len(body)) + header + body


def text(value: str) -> bytes:
    return struct.pack(">h", len(value)) + value.encode()


def connect(server: Server) -> socket.socket:
    return dial(kafka(server))


def dial(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=30)


def exchange(stream: socket.socket, request: bytes) -> bytes:
    """Sends a request and returns the body of its answer, behind the correlation id."""
    stream.sendall(request)
    return receive(stream)[4:]


def receive(stream: socket.socket) -> bytes:
    (length,) = struct.unpack(">i", _exactly(stream, 4))
    return _exactly(stream, length)


def _exactly(stream: socket.socket, count: int) -> bytes:
    parts = b""
    while len(parts) < count:
        part = stream.recv(count - len(parts))
        if not part:
            raise ConnectionError("the server closed the connection")
        parts += part
    return parts


def verdict(what: str, is_kept: bool) -> bool:
    print(f"{'kept' if is_kept else 'BROKEN'}: {what}", flush=True)
    return is_kept
