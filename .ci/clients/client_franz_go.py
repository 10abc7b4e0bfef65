#!/usr/bin/env python3
"""Drives franz-go, a client in Go, through the cases of cases.py; drivers/franz-go carries out the operations."""

import re
import sys

sys.dont_write_bytecode = True
import cases
from cache import HERE, go_program
from driven import Driven

FOLDER = HERE / "drivers" / "franz-go"


class FranzGo(Driven):
    name, sample_file = "franz-go", "full.tsv"
    version = re.search(r"franz-go v([\d.]+)", (FOLDER / "go.mod").read_text()).group(1)

    def __init__(self, bootstrap: str, admin: str):
        super().__init__(bootstrap, admin, [str(go_program(FOLDER))])


if __name__ == "__main__":
    cases.main(FranzGo)
