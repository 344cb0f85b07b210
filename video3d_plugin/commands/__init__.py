"""The commands that people use on a single scan: ask, view, sample."""
