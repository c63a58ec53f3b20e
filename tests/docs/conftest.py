"""The scripts of docs/ import each other by name, as `python docs/build.py` lets them."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "docs"))
