"""The sections of a run's page, one file each: a title, and how it is drawn from what the run directory holds."""
