"""API versions: the table of docs/clients.md, which says what each client used, and what Keylane's codec decodes.

The table is a golden file. A client that starts to use something else, or a broker that offers more, changes it, and
`.ci/clients/run` fails until the table is written anew with `.ci/clients/run --record` and read by a person.
"""

import difflib
import pathlib
import re

from relay import API_NAMES

BEGIN = "<!-- The table below is written by `.ci/clients/run --record`. -->"
END = "<!-- End of the written table. -->"

#: APIs from here on are Keylane's own.
PRIVATE_KEY_MIN = 20_000

CODEC_TABLE = pathlib.Path(__file__).resolve().parents[2] / "protocol" / "src" / "api.rs"


def decoded_versions() -> dict[int, tuple[int, int]]:
    """Returns the lowest and highest version of every API of Kafka's that Keylane decodes, read from the codec's own table."""
    source = CODEC_TABLE.read_text()
    keys = {name: int(key) for name, key in re.findall(r"^    (\w+) = ([\d_]+),$", source, re.MULTILINE)}
    rows = re.findall(r'api\(\s*ApiKey::(\w+),\s+"\w+",\s+\[(\d+), (\d+)\]', source)
    assert {name for name, _, _ in rows} == set(keys), f"the table in {CODEC_TABLE} is written in another way than this reads"
    return {keys[name]: (int(lowest), int(highest)) for name, lowest, highest in rows if keys[name] < PRIVATE_KEY_MIN}


def table(offered: dict[int, tuple[int, int]], used: dict[str, dict[int, set[int]]]) -> str:
    """Returns the table as Markdown: one row per API, one column per client."""
    clients = list(used)
    rows = [["API", "offered", *clients], ["---"] * (len(clients) + 2)]
    for api_key in sorted(set(offered) | {key for versions in used.values() for key in versions}):
        lowest, highest = offered.get(api_key, (None, None))
        rows.append([
            f"{API_NAMES.get(api_key, 'private')} ({api_key})",
            "–" if lowest is None else span(set(range(lowest, highest + 1))),
            *(span(used[client].get(api_key, set())) for client in clients),
        ])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def differing_versions(document: pathlib.Path, offered: dict[int, tuple[int, int]], used: dict[str, dict[int, set[int]]]) -> list[str]:
    """Returns where clients use other versions than a document's table says, or are offered others, of the APIs that are offered."""
    _, present, _ = parts(document.read_text())
    rows = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in present.splitlines()]
    names, different = rows[0], []
    for row in rows[2:]:
        written = dict(zip(names, row))
        api_key = int(re.search(r"\((\d+)\)", written["API"]).group(1))
        if api_key not in offered:
            continue
        lowest, highest = offered[api_key]
        found = {"offered": span(set(range(lowest, highest + 1))),
                 **{client: span(versions.get(api_key, set())) for client, versions in used.items()}}
        different += [f"{written['API']}, {column}: {text or 'unused'}, not {written.get(column) or 'unused'}"
                      for column, text in found.items() if text != written.get(column, "")]
    return different


def span(versions: set[int]) -> str:
    """Returns versions in the shortest way: `3`, `0–9`, `0, 4`, or nothing."""
    ordered = sorted(versions)
    if len(ordered) > 2 and ordered[-1] - ordered[0] == len(ordered) - 1:
        return f"{ordered[0]}–{ordered[-1]}"
    return ", ".join(map(str, ordered))


def difference(document: pathlib.Path, wanted: str) -> str:
    """Returns how the table of a document differs from the one wanted, or nothing."""
    _, present, _ = parts(document.read_text())
    return "".join(difflib.unified_diff(present.splitlines(True), wanted.splitlines(True), str(document), "what the clients used"))


def rewrite(document: pathlib.Path, wanted: str) -> None:
    before, _, after = parts(document.read_text())
    document.write_text(f"{before}{BEGIN}\n\n{wanted}\n{END}{after}")


def parts(text: str) -> tuple[str, str, str]:
    """Returns what stands before, in and after the table's marks."""
    before, begin, rest = text.partition(BEGIN)
    present, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"the document lacks the lines {BEGIN} and {END}")
    return before, present.strip("\n") + "\n", after
