"""Pure geometry: cameras, the token grid, boxes, voxels. Knows neither files, models nor hosts."""
