"""The scene viewer: a scan with a model's boxes and answers, as one HTML file that works offline.

    view = gather(scene, chosen=[0, 10, 20], sampler="uniform")
    write_page(Path("scene.html"), view, [item_of_grounding(model.ground(scene, "the chair"))])

`scene_view` reads the frames, `items` converts results to the page's format, and `page` writes the page.
"""

from video3d_plugin.view.items import item_of_answer, item_of_boxes, item_of_grounding, item_of_record
from video3d_plugin.view.page import item_for_page, page, write_page
from video3d_plugin.view.scene_view import SceneView, gather

__all__ = [
    "SceneView",
    "gather",
    "item_for_page",
    "item_of_answer",
    "item_of_boxes",
    "item_of_grounding",
    "item_of_record",
    "page",
    "write_page",
]
