"""Methods and settings side by side: runs of their own processes, and the table that compares them."""
