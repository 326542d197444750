"""Searching: a data set and a time in, the settings that do best and what they gain over the default out.

The search space is the table SPACES in space.py. To add a setting to it, write a line there: what it is called, in
which recipes it matters, and how far from its default it may go.
"""
