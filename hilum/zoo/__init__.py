"""Zoo: one named network per file, the file name is the network's name; `_blocks/` is shared, `_cost.py` counts.

Read a CARD with `hilum.core.catalogue`, which needs no torch. A network knows no task.
"""
