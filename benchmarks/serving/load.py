"""A load generator: so many connections ask about one picture over and over, each as soon as it has its answer.

python benchmarks/serving/load.py http://localhost:8000/predict PICTURE --connections 16 --seconds 10

Every answer is compared with the first one: class and probabilities must be the same.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np


async def client(host: str, port: int, request: bytes, until: float, seen: list[tuple[float, int, bytes]]) -> None:
    reader, writer = await asyncio.open_connection(host, port)
    while (began := time.perf_counter()) < until:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        body = await reader.readexactly(length)
        seen.append((time.perf_counter() - began, int(head[9:12]), body))
    writer.close()


def answer_of(body: bytes) -> tuple[str, float]:
    first = json.loads(body)["predictions"][0]
    return first["class_name"], round(first["confidence"], 5)


async def load(url: str, picture: bytes, connections: int, seconds: float) -> dict[str, float]:
    parts = urlsplit(url)
    host, port = parts.hostname or "localhost", parts.port or 80
    head = f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: image/png\r\nContent-Length: "
    request = f"{head}{len(picture)}\r\n\r\n".encode() + picture
    seen: list[tuple[float, int, bytes]] = []
    began = time.perf_counter()
    await asyncio.gather(*(client(host, port, request, began + seconds, seen) for _ in range(connections)))
    took = time.perf_counter() - began
    good = [latency for latency, status, _ in seen if status == 200]
    answers = {answer_of(body) for _, status, body in seen if status == 200}
    p50, p99 = np.percentile(good, [50, 99]) * 1000
    return {
        "connections": connections,
        "per_second": round(len(good) / took, 1),
        "p50_ms": round(float(p50), 2),
        "p99_ms": round(float(p99), 2),
        "refused": sum(status == 429 for _, status, _ in seen),
        "failed": sum(status not in (200, 429) for _, status, _ in seen),
        "different_answers": len(answers),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("picture", type=Path)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=10)
    given = parser.parse_args()
    print(json.dumps(asyncio.run(load(given.url, given.picture.read_bytes(), given.connections, given.seconds))))


if __name__ == "__main__":
    main()
