"""SERVING.   a run or an exported file -> a page for people, an API for programs.

Below: `batching` and `engine` know no HTTP, `api`, `inference_protocol` and `page` no queue. To add a route, write a
function in `api` and name it in the dict at its foot. TensorFlow is never imported here: what must be exported first is
exported by a child process.
"""
