"""Patches of the hosts, one module each, described in README.md. Importing this package applies none."""
