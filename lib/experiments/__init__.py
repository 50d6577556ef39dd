"""Suites of experiments: trainings that differ in a few settings, their scores, and what the differences are worth.

`command.py` is the way in; `suite.py` reads what is compared, `runs.py` knows the runs and their folders, `running.py`
carries them out, `comparison.py` compares their scores, `tables.py` and `figures.py` show them.
"""
