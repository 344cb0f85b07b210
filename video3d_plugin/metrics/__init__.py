"""Metrics of 3D scene benchmarks in every convention in use, as pure functions.

    iou               overlap of boxes
    grounding         ScanRefer and Multi3DRefer
    captions          Scan2Cap, one caption for each object
    dense_captions    Scan2Cap's benchmark, captions and boxes of a scene
    answers           ScanQA and SQA3D
    ngrams, java      BLEU, METEOR, ROUGE-L and CIDEr
    selection         from scores of proposals to predicted boxes
    box_text          boxes in text

The benchmarks in `video3d_plugin.tasks` decide which metrics are computed.
"""
