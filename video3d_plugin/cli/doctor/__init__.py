"""`video3d doctor`: checks of an installation, one module for each topic. `command` prints the report."""
