"""From a gin file, or a call in Python, to one assembled experiment, its run and its tables."""
