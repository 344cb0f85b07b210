"""Writes the files of the reference project (LaVi-Lab/Video-3D-LLM at 3ff70e8), for its own scripts to read."""
