"""Metrics of 3D scene benchmarks in every convention in use: definitions only, pure functions.

`iou` overlaps boxes, `grounding` scores located objects, `captions` and `dense_captions` descriptions, `answers`
answers. `ngrams` and `java` compute BLEU, METEOR, ROUGE-L and CIDEr, `selection` turns scores into boxes, `box_text`
reads boxes in text. Which numbers a benchmark has: `video3d_plugin.tasks`.
"""
