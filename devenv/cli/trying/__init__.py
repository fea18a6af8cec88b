"""Trials: sides made ready and brought up beside each other, a command run in them, the verdict told and kept."""
