"""The model options of Video-3D LLM (arXiv 2412.00493), as keys of config.json."""

from __future__ import annotations

from typing import Any

# LaVi-Lab/Video-3D-LLM at 3ff70e8: scripts/3d/train/train_multi.sh, and the defaults of llava/train/train_3d.py.
PAPER: dict[str, Any] = {
    "mm_projector_type": "mlp2x_gelu",
    "mm_patch_merge_type": "spatial_unpad",
    "mm_newline_position": "grid",
    "mm_spatial_pool_mode": "bilinear",
    "mm_spatial_pool_stride": 2,
    "world_position_embedding_type": "avg-discrete-sin3d",
    "voxel_size": 0.1,
    "min_xyz_range": [-15, -15, -5],
    "max_xyz_range": [15, 15, 5],
    "object_feature_type": "patch14-pe",
    "ground_head_type": "infonce",
    "ground_head_temperature": 0.07,
}
