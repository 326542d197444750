"""Ask a server about pictures: python client.py http://localhost:8000 PICTURE... Nothing but Python is needed."""

import json
import os
import sys
import urllib.request
from pathlib import Path

address, *pictures = sys.argv[1:]
headers = {"Content-Type": "application/octet-stream"}
if key := os.environ.get("ICONOCLASS_API_KEY"):
    headers["Authorization"] = f"Bearer {key}"
for picture in pictures:
    request = urllib.request.Request(f"{address}/predict", Path(picture).read_bytes(), headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        [prediction] = json.load(answer)["predictions"]
    print(picture, prediction["class_name"], f"{prediction['confidence']:.3f}", sep="\t")
