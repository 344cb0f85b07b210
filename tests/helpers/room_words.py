"""Words and directions by which tests read the sentences of the synthetic benchmark."""

from __future__ import annotations

import numpy as np

from video3d_plugin.mini.rooms.objects import COLORS, KINDS

ROOMS = [("val", 5, i) for i in range(6)] + [("train", 8, i) for i in range(4)]
LABEL_OF = {name: label for label, kind in KINDS.items() for name in (*kind.nouns, kind.plural)}
NOUN = "|".join(sorted(LABEL_OF, key=len, reverse=True))
COLOR = "|".join(COLORS)
THE = rf"the (?:({COLOR}) )?({NOUN})"
DIRECTIONS = np.array([(0, 1), (-1, 0), (0, -1), (1, 0)], float)
