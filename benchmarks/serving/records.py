"""Results, a line each, with the machine that they are from."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from iconoclass.backend import processor_name

RESULTS = Path(__file__).parent.parent / "results" / "serving.jsonl"


def record(what: str, row: dict[str, Any]) -> None:
    machine = {"processor": processor_name(), "cores": os.cpu_count(), "day": f"{datetime.now(UTC):%Y-%m-%d}"}
    with RESULTS.open("a", encoding="utf-8") as file:
        file.write(json.dumps({"what": what, **row, "machine": machine}) + "\n")
