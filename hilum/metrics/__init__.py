"""One metric per file; the file's name is the metric's name in metrics.json.

Each file has a literal CARD (better, unit, range, level, takes, empty, source), read without imports by
`hilum.core.catalogue`, and one function `measure`. It returns None where the metric is undefined: the evaluator
counts those and leaves them out. Files that start with an underscore are machinery, not metrics.
"""
