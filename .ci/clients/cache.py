"""Where the scripts of this folder keep what they fetch, and how they fetch it.

Everything lands in one cache folder outside the repository (`KEYLANE_CI_CACHE`, by default
`~/.cache/keylane-ci`), is made in a temporary folder and renamed when complete, and is reused by the next run.
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
