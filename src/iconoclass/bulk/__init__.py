"""Bulk prediction: a model and pictures in any number in, Parquet out.

Pictures are listed once, in parts; each part becomes one file, whole or not at all, wherever it is worked on.
"""
