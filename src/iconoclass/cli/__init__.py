"""The command line: parse, call the pipeline or one stage, print. No arithmetic, and nothing heavy before it is needed.

stdout is for results, stderr for progress and advice.
"""
