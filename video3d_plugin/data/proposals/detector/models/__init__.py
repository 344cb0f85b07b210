"""Detectors of single images: models of transformers, and files that OpenCV reads."""
