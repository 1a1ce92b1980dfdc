"""Methods and settings side by side: a process for every run, and the table that compares them."""
