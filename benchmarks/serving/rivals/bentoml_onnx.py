"""BentoML: the raw body, a worker a core."""

import os

import bentoml
from asked import decoded, opened, told


@bentoml.service(workers=os.cpu_count(), traffic={"timeout": 30}, logging={"access": {"enabled": False}})
class Classifier:
    def __init__(self) -> None:
        self.session = opened()
        [self.asked] = self.session.get_inputs()

    @bentoml.api(route="/predict")
    async def predict(self, picture: bytes, /) -> dict:
        pixels = decoded(picture, self.asked.shape[1:])
        return told(self.session.run(None, {self.asked.name: pixels[None]})[0][0])
