"""Running trackers over sequences and writing result files; nothing is scored here.

`sequence` tracks one sequence, or many in one step, `runner` a data set or a recording; `results` is the folder that
they fill, and `comparison` puts trackers side by side.
"""
