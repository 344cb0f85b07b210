"""InputsSpec: what a model requires of the data. The whole interface between `data` and `model`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Points = Literal["average", "centre", "five", "nine", "minmax"]
Pooling = Literal["bilinear", "average", "max"]
ObjectPatch = Literal["patch14", "patch27"]
CoordinateDtype = Literal["float32", "float16", "bfloat16"]
Fit = Literal["crop", "resize"]
FITS: tuple[Fit, ...] = ("crop", "resize")
COORDINATE_DTYPES: tuple[CoordinateDtype, ...] = ("float32", "float16", "bfloat16")
LATER_FIELDS = ("coordinate_dtype", "clamp_points", "fit", "token_boxes")  # of InputsSpec: older files do not have them
POINTS_PER_TOKEN: dict[str, int] = {"average": 1, "centre": 1, "five": 5, "nine": 9, "minmax": 2}


@dataclass(frozen=True)
class InputsSpec:
    """Everything that SceneInputs depend on besides the scene, its frames and its boxes.

    `Video3DConfig.inputs_spec` builds it from a checkpoint's configuration. The defaults are those of
    SigLIP-so400m-patch14-384 with the 2 x 2 bilinear pooling of LLaVA-NeXT.

    Attributes:
        image_size: Side of the square crop that the vision tower sees, in pixels.
        patch_size: Side of a patch of the tower, in pixels.
        pool_stride: Patches along a side that are pooled to one visual token.
        pooling: How patches are pooled: "bilinear", "average" or "max".
        points: Which 3D points stand for a token; see `geometry.patch_grid.token_points`.
        object_patch: Which grid the patches of a proposal index: "patch14" un-pooled patches, "patch27" pooled tokens.
        coordinate_dtype: Number format to which coordinates are rounded: points of pixels, boxes, and what is computed
            of both. The reference evaluates with float16 ones, and trains with bfloat16 ones under DeepSpeed.
        fit: How a frame becomes square: "crop" (resized, then cropped at the centre) or "resize" (width and height
            resized on their own, as 3DRS does).
        token_boxes: Whether `proposal_bits` also tells which tokens lie in each proposal, for models that average the
            language model's states (3DRS).
        mask_invalid_depth: Whether pixels without depth are left out of a token's points and of boxes.
        clamp_points: Whether points of pixels are clamped to the extent of the scan's surface voxels, as the reference
            does where its frame sampling strategy has `norm`.
    """

    image_size: int = 384
    patch_size: int = 14
    pool_stride: int = 2
    pooling: Pooling = "bilinear"
    points: Points = "average"
    object_patch: ObjectPatch = "patch14"
    mask_invalid_depth: bool = False
    coordinate_dtype: CoordinateDtype = "float32"
    clamp_points: bool = False
    fit: Fit = "crop"
    token_boxes: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for files and keys, without those of LATER_FIELDS that have their default."""
        defaults = InputsSpec()
        return {
            name: value
            for name, value in asdict(self).items()
            if name not in LATER_FIELDS or value != getattr(defaults, name)
        }

    @property
    def patches_per_side(self) -> int:
        """Un-pooled patches along a side of the crop (27 by default)."""
        return self.image_size // self.patch_size

    @property
    def used_side(self) -> int:
        """Pixels along a side that belong to a patch (378 by default).

        The tower's convolution never reads the remainder at the right and bottom, so it is not passed to the model.
        """
        return self.patches_per_side * self.patch_size

    @property
    def grid_side(self) -> int:
        """Pooled tokens along a side: rounded up for bilinear pooling (14), down for average and max pooling (13)."""
        n, s = self.patches_per_side, self.pool_stride
        return -(-n // s) if self.pooling == "bilinear" else n // s

    @property
    def points_per_token(self) -> int:
        """3D points that stand for one visual token."""
        return POINTS_PER_TOKEN[self.points]

    @property
    def object_grid_side(self) -> int:
        """Side of the grid that proposal patches index: un-pooled patches (patch14) or pooled tokens (patch27)."""
        return self.patches_per_side if self.object_patch == "patch14" else self.grid_side

    @property
    def token_bytes(self) -> int:
        """Bytes of `proposal_bits` at the end of each row that stand for tokens; 0 without `token_boxes`."""
        return -(-(self.grid_side**2) // 8) if self.token_boxes else 0

    @property
    def proposal_bytes(self) -> int:
        """Bytes of `proposal_bits` for one proposal and one frame."""
        return -(-(self.object_grid_side**2) // 8) + self.token_bytes
