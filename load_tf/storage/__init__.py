"""What survives a kill: a run's directory, its one commit point, and the small writer of arrays under it."""
