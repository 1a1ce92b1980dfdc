"""From gin files, or a call in Python, and people's images to one assembled experiment, its run and its tables."""
