"""Measurements: each module is a command that answers one question and prints one Markdown table."""

from load_tf import commands

# Before any module here imports TensorFlow.
commands.quiet_tensorflow()
