"""MANY images. A data set's name, a folder, a CSV, an .npz or an archive -> Dataset(train, validation, test).

In: what a person calls their data, and the [data] settings. Out: `dataset.Dataset`, whose pixels lie decoded in the
user's cache and are mapped from there. The user's own files are only ever read.
To add a data set: a reader in readers.py (paths -> Arrays) and a line in `catalog.DATASETS`.
"""
