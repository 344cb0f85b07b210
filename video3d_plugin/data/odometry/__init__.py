"""Estimates the camera poses of RGB-D recordings that have none."""
