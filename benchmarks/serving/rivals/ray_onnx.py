"""Ray Serve: the raw body, batches without waiting, a replica a core."""

import os
import signal
import sys

import numpy as np
from asked import decoded, opened, told
from ray import serve
from starlette.requests import Request


@serve.deployment(num_replicas=os.cpu_count(), max_ongoing_requests=64, ray_actor_options={"num_cpus": 0})
class Classifier:
    def __init__(self) -> None:
        self.session = opened()
        [self.asked] = self.session.get_inputs()

    @serve.batch(max_batch_size=32, batch_wait_timeout_s=0)
    async def answer(self, pictures):
        pixels = np.stack([decoded(picture, self.asked.shape[1:]) for picture in pictures])
        return [told(row) for row in self.session.run(None, {self.asked.name: pixels})[0]]

    async def __call__(self, request: Request):
        return await self.answer(await request.body())


if __name__ == "__main__":
    serve.start(http_options={"port": int(sys.argv[1])})
    serve.run(Classifier.bind(), route_prefix="/predict")
    signal.pause()
