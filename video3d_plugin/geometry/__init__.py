"""Geometry of cameras, the token grid, boxes and voxels, independent of files, models and hosts."""
