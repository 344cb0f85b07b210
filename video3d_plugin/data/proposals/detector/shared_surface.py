"""Detections of many views on the surface that the views share, and the objects that they agree on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from video3d_plugin.data.proposals.detector.consensus import MergedObject, merge_masks
from video3d_plugin.data.proposals.detector.lifting import (
    View,
    cell_size,
    fuse_surface,
    lift_box,
    lift_mask,
    visible_cells,
)
from video3d_plugin.data.proposals.detector.models.detection import Detection
from video3d_plugin.data.proposals.detector.object_boxes import box_of_cells
from video3d_plugin.data.proposals.detector.shell_planes import find_shell
from video3d_plugin.metrics.iou import iou_matrix

_SAME_IOU = 0.6  # of two boxes: the better one stays


@dataclass(frozen=True)
class LiftedDetection:
    """A detection of one view on the surface.

    Attributes:
        view: Index of the view.
        cells: (K,) int64 indices of the cells that it covers, ascending.
        label: Its class; "" if unknown.
        score: Confidence, 0 to 1.
    """

    view: int
    cells: np.ndarray
    label: str
    score: float


@dataclass(frozen=True)
class DetectedObject:
    """An object that detections of one or more views agree on.

    Attributes:
        box: (6,) float32 centre and size, world frame, metres.
        score: Mean score over the views that see it, 0 where they did not detect it. One more view that did not detect
            it is counted, so that what many views agree on comes before what one view shows.
        label: The class with most score; "" if unknown.
        views: Indices of the views that detected it, ascending.
    """

    box: np.ndarray
    score: float
    label: str
    views: tuple[int, ...]


class SharedSurface:
    """The surface that views share, and what each of them sees of it.

    Args:
        views: The views.
    """

    def __init__(self, views: list[View]):
        self.cell_m = cell_size(views)
        self.points = fuse_surface(views, self.cell_m)
        self.visible = [visible_cells(self.points, view) for view in views]
        self._sizes = [view.depth_m.shape for view in views]
        self._shell = find_shell(self.points).contains(self.points)

    def lift(self, view: int, detection: Detection) -> LiftedDetection:
        """Return the detection of a view as cells of the surface; it has none where no depth was measured."""
        visibility = self.visible[view]
        if detection.mask is not None:
            cells = lift_mask(detection.mask, visibility, self._sizes[view])
        else:
            assert detection.box is not None, "a detection has a mask or a box"
            cells = lift_box(detection.box, visibility, self._sizes[view], self.points, self.cell_m, self._shell)
        return LiftedDetection(view, cells, detection.label, detection.score)

    def merge(self, detections: list[LiftedDetection]) -> list[DetectedObject]:
        """Merge the detections of all views into objects, best first; their order does not matter."""
        of_view = np.array([detection.view for detection in detections], np.int64)
        visible = [visibility.cells for visibility in self.visible]
        merged = merge_masks([detection.cells for detection in detections], of_view, visible, len(self.points))
        objects = [found for each in merged if (found := self._object(each, detections))]
        objects.sort(key=lambda found: (-found.score, *found.box))
        return _without_duplicates(objects)

    def _object(self, merged: MergedObject, detections: list[LiftedDetection]) -> DetectedObject | None:
        box = box_of_cells(self.points[merged.cells])
        if box is None:
            return None
        members = [detections[index] for index in merged.masks]
        best: dict[int, float] = {}
        by_label: dict[str, float] = {}
        for member in sorted(members, key=lambda m: (m.view, m.label, m.score)):
            best[member.view] = max(best.get(member.view, 0.0), member.score)
            by_label[member.label] = by_label.get(member.label, 0.0) + member.score
        label = max(sorted(by_label), key=by_label.__getitem__)
        score = sum(best[view] for view in sorted(best)) / (max(len(best), merged.seen_by) + 1)
        return DetectedObject(box, score, label, tuple(sorted(best)))


def _without_duplicates(objects: list[DetectedObject]) -> list[DetectedObject]:
    """Return the objects, best first, without those whose box is nearly that of a better one."""
    kept: list[DetectedObject] = []
    for found in objects:
        if not kept or iou_matrix(np.array([other.box for other in kept]), found.box[None]).max() < _SAME_IOU:
            kept.append(found)
    return kept
