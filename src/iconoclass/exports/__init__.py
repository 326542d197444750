"""LEAVING. A run -> files that other programs load, each with the proof that it answers as the run does.

In: a complete run and the pictures that it was judged on. Out: a folder with the model file, manifest.json, labels.txt,
proof.json, proof.html and a README; or an error with status 5, and no file.
To add a format: a writer in `catalog.EXPORTERS` and a reader in `prediction.runtimes.RUNTIMES`.
"""
