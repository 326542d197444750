"""FastAPI as in its tutorial, with ONNX Runtime: the raw body, uvloop and httptools, a process a core."""

import os
import sys

import uvicorn
from asked import decoded, opened, told
from fastapi import FastAPI, Request

session = opened()
[asked] = session.get_inputs()
app = FastAPI()


@app.post("/predict")
async def predict(request: Request):
    pixels = decoded(await request.body(), asked.shape[1:])
    return told(session.run(None, {asked.name: pixels[None]})[0][0])


if __name__ == "__main__":
    workers = int(os.environ.get("WORKERS", "1"))
    uvicorn.run("fastapi_onnx:app", port=int(sys.argv[1]), workers=workers, access_log=False, log_level="error")
