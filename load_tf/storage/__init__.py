"""What survives a kill: a run's directory, its one commit point, and the array files under it."""
