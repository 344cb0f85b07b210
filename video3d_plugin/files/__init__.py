"""Files: atomic writing, and bounded reading of files of unknown origin (JSON, text, images, archives, links)."""
