"""The files of the reference project (LaVi-Lab/Video-3D-LLM at 3ff70e8), written for its own programs to read."""
