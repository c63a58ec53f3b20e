"""One metric per file; the file's name is the metric's name in metrics.json.

Each file has a literal CARD, read without imports by `hilum.core.catalogue`, and one function `measure`. It returns
None where the metric is undefined: the evaluator counts those and leaves them out. Files that start with an underscore
are machinery, not metrics.

CARD: better ("higher" or "lower"), unit, range (lowest, highest; None: no end), level ("case": one value per case,
"set": one for all), takes, aggregate (how cases become one number), missing (what a case without a result counts as),
empty (where there is nothing to measure), source, and suffix where the name may carry one (`_names.py`).
"""
