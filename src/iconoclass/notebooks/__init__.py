"""TEACHING: a run or a data source -> a notebook that runs from top to bottom.

To change what is in it, edit of_data.md or of_run.md: blocks marked `python` become cells of code, the rest text.
"""
