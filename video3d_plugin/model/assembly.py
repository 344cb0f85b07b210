"""From token ids and scenes to the input rows of the language model."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

import torch

from video3d_plugin.errors import DataError
from video3d_plugin.geometry.patch_grid import as_coordinates
from video3d_plugin.model import sequence as seq
from video3d_plugin.model.backbone import Video3DModel
from video3d_plugin.model.distributed.rank_sync import RankSync, zero_loss
from video3d_plugin.model.scene_tokens import SceneTensors, SceneTokens, encode_scene_tokens, encode_scenes


class ItemAssembly(RankSync):
    """Mix-in of Video3DForCausalLM that builds the rows of a batch."""

    if TYPE_CHECKING:
        config: Any
        model: Video3DModel

    def assemble(
        self,
        input_ids: torch.Tensor,
        scenes: Sequence[SceneTokens],
        scene_index: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        coords: torch.Tensor | None = None,
        segments: torch.Tensor | None = None,
        left: bool | None = None,
    ) -> tuple[seq.PackedBatch, list[int]]:
        """Build the input rows of the language model.

        Args:
            input_ids: (R, W) token ids, with seq.IMAGE_ID once a row.
            scenes: The encoded scenes.
            scene_index: (R,) index of each row's scene; by default the scenes in order.
            attention_mask: (R, W) 0 on padding; by default there is none.
            labels: (R, W) or None.
            coords: (C, 3) points of all <coord> tokens, row by row; world frame, metres.
            segments: (R, W) items of packed rows, or None.
            left: Pad on the left; None: on the side where `attention_mask` has padding.

        Returns:
            The padded rows, and for each row the index of its scene.

        Raises:
            DataError: Placeholders, points, lengths or scene indices do not fit.
        """
        # Read on the CPU: on a GPU each look at a number would wait for all that runs there.
        input_ids = input_ids.cpu()
        attention_mask, labels, segments = (
            None if part is None else part.cpu() for part in (attention_mask, labels, segments)
        )
        mask = torch.ones_like(input_ids, dtype=torch.bool) if attention_mask is None else attention_mask.bool()
        scene_of = self._scene_of(len(input_ids), len(scenes), scene_index)
        visual = [scenes[index].visual for index in scene_of]
        text_lengths = mask.sum(1).tolist() if segments is None else _longest_items(mask, segments)
        lengths = [n - 1 + len(v) for n, v in zip(text_lengths, visual, strict=True)]
        seq.check_prompts(input_ids, mask, lengths, self.config.longest_sequence)
        embeds = self.embed_text(input_ids, mask, coords)
        if left is None:
            left = bool((~mask[:, 0]).any())
        rows = seq.insert_visual(embeds, input_ids, mask, visual, labels, segments, left)
        axes = [scenes[index].axes for index in scene_of]
        if axes and axes[0] is not None:
            rows.place_visual([own for own in axes if own is not None])
        return rows, scene_of

    def embed_text(self, input_ids: torch.Tensor, mask: torch.Tensor, coords: torch.Tensor | None) -> torch.Tensor:
        """Embed tokens, and add to each <coord> token the position embedding of its point.

        Args:
            input_ids: (R, W) token ids, on the CPU, where <coord> tokens are counted.
            mask: (R, W) bool, on the CPU, False on padding.
            coords: (C, 3) points of all <coord> tokens, row by row, world frame, metres; None if there are none.

        Returns:
            (R, W, H) on the model's device.

        Raises:
            DataError: The number of points differs from that of <coord> tokens, or a point is not finite.
        """
        input_ids, mask = input_ids.cpu(), mask.cpu()
        embeds = self.model.embed_tokens(input_ids.clamp(min=0).to(self.model.embed_tokens.weight.device))
        at = self._coord_places(input_ids, mask, coords)
        position = self.config.position
        if position is not None and self.rank_sync_enabled and (coords is None or not len(coords)):
            dummy = embeds.new_zeros(1, position.points_per_token, 3)  # for the other ranks' sake
            return embeds + zero_loss(self.model.world_position_embedding(dummy)).to(embeds)
        if position is None or coords is None or not len(coords):
            return embeds
        points = as_coordinates(coords.to(embeds.device), self.config.inputs_spec)[:, None]
        points = points.expand(-1, position.points_per_token, -1)
        vectors = self.model.world_position_embedding(points).to(embeds)
        places = tuple(index.to(embeds.device) for index in at.nonzero(as_tuple=True))
        return embeds.index_put(places, vectors, accumulate=True)

    def _coord_places(self, input_ids: torch.Tensor, mask: torch.Tensor, coords: torch.Tensor | None) -> torch.Tensor:
        """Return (R, W) bool, where the <coord> tokens are, after checking the points against them."""
        coord_id, count = self.config.coord_token_id, 0 if coords is None else len(coords)
        at = (input_ids == coord_id) & mask if coord_id is not None else torch.zeros_like(mask)
        if int(at.sum()) != count:
            per_item = ", ".join(str(n) for n in at.sum(1).tolist())
            raise DataError(
                f"the batch has {int(at.sum())} <coord> tokens (by item: {per_item}) and {count} points",
                remedy="give one point for each <coord>, in the order of the items",
            )
        if coords is None or not count or self.config.position is None:
            return at
        if coords.shape[1:] != (3,):
            raise DataError(f"coords are {tuple(coords.shape)}, expected (C, 3)", remedy="give points as x, y, z")
        broken = ~torch.isfinite(coords.cpu()).all(1)
        if bool(broken.any()):
            item = int(at.nonzero()[broken][0, 0])
            raise DataError(f"item {item} of the batch has a <coord> that is not finite", remedy="check its point")
        return at

    def _scene_of(self, rows: int, scenes: int, scene_index: torch.Tensor | None) -> list[int]:
        index = list(range(rows)) if scene_index is None else [int(i) for i in torch.as_tensor(scene_index).tolist()]
        if len(index) != rows or any(not 0 <= i < scenes for i in index):
            raise DataError(
                f"scene_index {index} does not fit {rows} rows and {scenes} scenes",
                remedy="give one index a row, below the number of scenes",
            )
        return index

    def scenes_to_ground(
        self, input_ids: torch.Tensor, scenes: Sequence[SceneTensors], scene_index: torch.Tensor | None
    ) -> set[int]:
        """Return the indices of scenes with a grounding item, the only ones that need proposal features."""
        if self.config.head is None or self.config.ground_token_id is None:
            return set()
        scene_of = self._scene_of(len(input_ids), len(scenes), scene_index)
        asks = (input_ids == self.config.ground_token_id).any(1).tolist()
        return {index for index, ask in zip(scene_of, asks, strict=True) if ask}

    def encode_batch(
        self,
        input_ids: torch.Tensor,
        scenes: Sequence[SceneTensors],
        scene_index: torch.Tensor | None,
        with_proposals: Collection[int],
    ) -> list[SceneTokens]:
        """Encode the scenes of a batch; `with_proposals` holds the indices of those that need proposal features."""
        scene_of = self._scene_of(len(input_ids), len(scenes), scene_index)
        rows = [", ".join(str(row) for row, items in enumerate(scene_of) if items == i) for i in range(len(scenes))]
        names = [f"item {items} of the batch (scene {i})" for i, items in enumerate(rows)]
        grounded = [i in with_proposals for i in range(len(scenes))]
        if self.rank_sync_enabled:
            return encode_scenes(self, scenes, grounded, names, rank_sync=True)
        return [encode_scene_tokens(self, *part) for part in zip(scenes, grounded, names, strict=True)]


def _longest_items(mask: torch.Tensor, segments: torch.Tensor) -> list[int]:
    """Return for each row the length of its longest item, prefix included."""
    longest = [0] * len(mask)
    for row, columns in seq.item_places(mask, segments.masked_fill(~mask, -1)):
        longest[row] = max(longest[row], len(columns))
    return longest
