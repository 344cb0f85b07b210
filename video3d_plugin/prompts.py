"""All prompts: those that the published weights were trained with, and phrases of prompts for other models.

Source: LaVi-Lab/Video-3D-LLM at 3ff70e8, scripts/3d/preprocessing/process_*.py and llava/train/train_3d.py. <image> is
replaced by the visual tokens, <coord> by a point in the scene.
"""

from __future__ import annotations

from video3d_plugin.tokens import COORD_TOKEN, GROUND_TOKEN, IMAGE_TOKEN

GROUND_ANSWER = GROUND_TOKEN

# Answers in words: of a question about the scene, the same in free form, and of a question asked from a situation.
ANSWER_PROMPT = IMAGE_TOKEN + " {question} Answer the question simply."
FREE_PROMPT = IMAGE_TOKEN + " {question}"
SITUATED_PROMPT = IMAGE_TOKEN + " {situation} {question} Answer the question using a single word or phrase."
# Descriptions of a point.
CAPTION_PROMPT = f"{IMAGE_TOKEN} Given an object located at {COORD_TOKEN} , describe the object in detail."
POINT_QUESTION = f"Given an object located at {COORD_TOKEN} , " + "{question}"
# Boxes: of the one object that fits a description; SEVERAL follows where there may be none or more of them.
GROUND_PROMPT = IMAGE_TOKEN + "Identify the object according to the following description.\n{description}"
SEVERAL = "\nThere may be no corresponding object, or there may be one or more objects."
# Put before the question in training with `--add_spatial_instruction`.
SPATIAL_INSTRUCTION = (
    "The video captures 3D spatial information of a scene. Please focus on the spatial relationships in the video "
    "and answer the following questions."
)
# For models that know nothing of `<ground>` and `<coord>`: how positions and boxes are written in text.
PLAIN_WORLD = "Positions are in metres; x and y are horizontal, z is up, the floor is near z = 0."
PLAIN_BOX = "a box [x, y, z, w, h, l]: its centre, then its size along x, y and z"


def grounding_prompt(description: str, several: bool = False) -> str:
    """Return the grounding prompt of a description.

    Args:
        description: The description; its first letter is capitalised and the rest lowered, as in the reference.
        several: Add that none or several objects may fit (Multi3DRefer).
    """
    return GROUND_PROMPT.format(description=description.capitalize()) + (SEVERAL if several else "")
