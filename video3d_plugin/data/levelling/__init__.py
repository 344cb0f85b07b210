"""Levels scans: finds up, the direction of the walls and the floor from the frames, and says how sure it is."""
