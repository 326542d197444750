"""LitServe: batches of up to 32, a worker a core. It takes forms or JSON, no raw bodies."""

import os
import sys

import litserve
import numpy as np
from asked import decoded, opened, told
from fastapi import Request


class Classifier(litserve.LitAPI):
    def setup(self, device):
        self.session = opened()
        [self.asked] = self.session.get_inputs()

    def decode_request(self, request: Request):
        return decoded(request["file"].file.read(), self.asked.shape[1:])

    def batch(self, inputs):
        return np.stack(inputs)

    def predict(self, x):
        return self.session.run(None, {self.asked.name: x})[0]

    def unbatch(self, output):
        return list(output)

    def encode_response(self, output):
        return told(output)


if __name__ == "__main__":
    api = Classifier(max_batch_size=32, batch_timeout=0.0005)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=os.cpu_count(), fast_queue=False)
    server.run(port=int(sys.argv[1]), generate_client_file=False, log_level="error", num_api_servers=1)
