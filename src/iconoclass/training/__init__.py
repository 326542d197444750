"""LEARNING. A Dataset and a Config with nothing left open -> a Run with a model in it.

`trainer.train` is the whole of it on one screen: fit -> epoch -> step.
To add a recipe: a function in recipes.py and a line in `RECIPES`. An optimiser or a schedule: a line in its table.
"""
