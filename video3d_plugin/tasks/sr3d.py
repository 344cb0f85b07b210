"""Sr3D (ReferIt3D, ECCV 2020): identify the object that an utterance made from a template refers to.

sr3d.csv, both splits in one file; other columns are not read:

    stimulus_id,utterance,scan_id,instance_type,target_id,tokens,mentions_target_class
    scene0011_00-chair-3-5-6-9,the chair that is closest to the door,scene0011_00,chair,5,"['the', ...]",True

A document, of which ann_id is the number of the row, from 0:

    {"scene_id": "scene0011_00", "object_id": "5", "ann_id": "3", "description": "the chair ...", "easy": false,
     "view_dependent": false, "gt_box": [x, y, z, dx, dy, dz], ...}

Official scorer: https://github.com/referit3d/referit3d/blob/725a5d3/referit3d/analysis/deepnet_predictions.py
"""

from __future__ import annotations

from video3d_plugin.tasks.referit3d import referit3d

TASK = referit3d("sr3d", "sr3d.csv")
