"""Lets the tests here import the two support modules beside them (pytest's importlib mode leaves their folder out)."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
