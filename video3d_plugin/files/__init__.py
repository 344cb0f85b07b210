"""Files: atomic writing, and bounded reading of what strangers wrote (JSON, text, images, links)."""
