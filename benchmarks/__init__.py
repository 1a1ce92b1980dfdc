"""Measurements: each module is a command that answers one question and prints one Markdown table."""
