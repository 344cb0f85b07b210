"""A second, plain implementation of one item's forward pass: the specification that the model is held against.

One item at a time, loops where they read better, nothing shared with the package but parameter names. The tower is
transformers' SiglipVisionModel with all of its layers (the last one's weights do not matter), the language model is
transformers' Qwen2ForCausalLM; both get their weights from the model under test by name.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from transformers import Qwen2Config, Qwen2ForCausalLM, SiglipVisionConfig, SiglipVisionModel

IMAGE, IGNORE = -200, -100


class Twin:
    def __init__(self, model):
        self.w = {name: p.detach() for name, p in model.named_parameters()}
        self.o = model.config  # raw option strings only
        keep = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
                "num_key_value_heads", "max_position_embeddings", "rms_norm_eps")  # fmt: skip
        rope = model.config.to_dict()["rope_theta"]
        self.language = Qwen2ForCausalLM(
            Qwen2Config(**{k: getattr(model.config, k) for k in keep}, rope_theta=rope, tie_word_embeddings=False)
        ).eval()
        self.language.load_state_dict({k: self.w[k] for k in self.language.state_dict()})
        self.tower = SiglipVisionModel(SiglipVisionConfig(**model.config.vision_config)).eval()
        prefix = "model.vision_tower.vision_tower."
        names = {k.removeprefix("vision_model."): k for k in self.tower.state_dict()}
        own = {k.removeprefix(prefix + "vision_model."): v for k, v in self.w.items() if k.startswith(prefix)}
        self.tower.load_state_dict({names[k]: v for k, v in own.items()}, strict=False)

    # -- pictures ---------------------------------------------------------------------------------------------

    def patches(self, pixels):
        """(V, n, n, H): second-last hidden state, through the projector's two layers."""
        x = (pixels.double() / 255 - 0.5) / 0.5
        out = self.tower(x.float().permute(0, 3, 1, 2), output_hidden_states=True)
        x = out.hidden_states[-2]
        x = F.linear(x, self.w["model.mm_projector.0.weight"], self.w["model.mm_projector.0.bias"])
        x = F.linear(F.gelu(x), self.w["model.mm_projector.2.weight"], self.w["model.mm_projector.2.bias"])
        n = math.isqrt(x.shape[1])
        return x.view(len(x), n, n, -1)

    def pooled(self, patches):
        v, n, _, h = patches.shape
        mode, s = self.o.mm_spatial_pool_mode, self.o.mm_spatial_pool_stride
        if mode == "bilinear":
            g = math.ceil(n / s)
            return torch.stack([self._bilinear(frame, g) for frame in patches])
        g = n // s
        out = torch.zeros(v, g, g, h)
        for i in range(g):
            for j in range(g):
                cell = patches[:, i * s : i * s + s, j * s : j * s + s].flatten(1, 2)
                out[:, i, j] = cell.mean(1) if mode == "average" else cell.amax(1)
        return out

    @staticmethod
    def _bilinear(grid, g):
        """Pixel centres at halves, borders repeated."""
        n = len(grid)
        where = [min(max((i + 0.5) * n / g - 0.5, 0), n - 1) for i in range(g)]
        rows = torch.stack([_between(grid, y) for y in where])
        return torch.stack([_between(rows.transpose(0, 1), x) for x in where], 1)

    def position(self, points):
        """(P, 3) metres -> (H,)."""
        kind, size = self.o.world_position_embedding_type, self.o.hidden_size
        if "sin3d" not in kind and "mlp" not in kind:
            return torch.zeros(size)
        if "discrete" in kind:
            low, high = torch.tensor(self.o.min_xyz_range).float(), torch.tensor(self.o.max_xyz_range).float()
            points = ((torch.minimum(torch.maximum(points, low), high) - low) / self.o.voxel_size).round()
        if "mlp" in kind:
            m = "model.world_position_embedding.mlp."
            x = F.linear(points, self.w[m + "0.weight"], self.w[m + "0.bias"])
            x = F.relu(F.layer_norm(x, x.shape[-1:], self.w[m + "1.weight"], self.w[m + "1.bias"]))
            return F.linear(x, self.w[m + "3.weight"], self.w[m + "3.bias"]).mean(0)
        n = size // (3 * len(points))
        out = []
        for point in points:
            for value in point.tolist():
                for i in range(n):
                    angle = value / 10000 ** (2 * (i // 2) / n)
                    out.append(math.sin(angle) if i % 2 == 0 else math.cos(angle))
        return torch.tensor(out + [0.0] * (size - len(out)))

    def has_position(self):
        return bool(self.o.world_position_embedding_type)

    def visual(self, scene):
        grid = self.pooled(self.patches(scene.pixels))
        newline = self.w.get("model.image_newline")
        tokens = []
        for v, frame in enumerate(grid):
            for i, row in enumerate(frame):
                for j, cell in enumerate(row):
                    seen = scene.token_valid[v, i, j] or not self.o.mask_invalid_depth
                    here = self.position(scene.token_points[v, i, j]) if self.has_position() and seen else 0
                    tokens.append(cell + here)
                if self.o.mm_newline_position == "grid":
                    tokens.append(newline)
            if self.o.mm_newline_position == "frame":
                tokens.append(newline)
        if self.o.mm_newline_position == "one_token":
            tokens.append(newline)
        return torch.stack(tokens)

    def proposals(self, scene):
        patches = self.patches(scene.pixels)
        source = patches if "patch14" in self.o.object_feature_type else self.pooled(patches)
        count = {"sample9": 9, "sample5": 5, "minmax": 2}.get(
            (self.o.world_position_embedding_type or "").split("-")[0], 1
        )
        out = []
        for box, inside in zip(scene.proposals, scene.proposal_patches, strict=True):
            feature = source[inside].mean(0) if inside.any() else torch.zeros(self.o.hidden_size)
            if self.has_position():
                feature = feature + self.position(box[:3].repeat(count, 1))
            out.append(feature)
        return torch.stack(out)

    # -- an item ------------------------------------------------------------------------------------------------

    def embeds(self, ids, scene, coords):
        at = ids.index(IMAGE)
        table = self.w["model.embed_tokens.weight"]
        count = 1 if not self.has_position() else scene.token_points.shape[3]
        points = iter(coords)
        rows = []
        for token in ids:
            if token == IMAGE:
                continue
            row = table[token]
            if token == self.o.coord_token_ids[0] and self.has_position():
                row = row + self.position(torch.tensor(next(points)).float().repeat(count, 1))
            rows.append(row)
        if "mrope" in (self.o.world_position_embedding_type or ""):
            self.places = at, self.voxels(scene)
        return torch.cat([torch.stack(rows[:at]), self.visual(scene), torch.stack(rows[at:])])

    def voxels(self, scene):
        """[(x, y, z)] of the visual tokens, newlines at 0."""
        out = []
        for frame in scene.token_points:
            for row in frame:
                for cell in row:
                    low, high = self.o.min_xyz_range, self.o.max_xyz_range
                    clamped = [min(max(float(v), a), b) - a for v, a, b in zip(cell[0], low, high, strict=True)]
                    out.append([round(v / self.o.voxel_size) for v in clamped])
                out += [[0, 0, 0]] * (self.o.mm_newline_position == "grid")
            out += [[0, 0, 0]] * (self.o.mm_newline_position == "frame")
        return out + [[0, 0, 0]] * (self.o.mm_newline_position == "one_token")

    def rotate(self, length):
        """Let the language model rotate each token by its three positions; text is at its index."""
        at, voxels = self.places
        where = [[i] * 3 for i in range(length)]
        where[at : at + len(voxels)] = voxels
        base, size = self.o.to_dict()["rope_theta"], self.o.hidden_size // self.o.num_attention_heads
        axis_of = [0 if 2 * j < size / 2 else 1 if 2 * j < size * 3 / 4 else 2 for j in range(size // 2)]
        angles = [[own[axis_of[j]] * base ** (-2 * j / size) for j in range(size // 2)] * 2 for own in where]
        angles = torch.tensor(angles, dtype=torch.float64)[None]
        rotation = angles.cos().float(), angles.sin().float()

        class Rotary(torch.nn.Module):
            def forward(self, x, position_ids):
                return rotation

        self.language.model.rotary_emb = Rotary()

    def hidden(self, embeds):
        if "mrope" in (self.o.world_position_embedding_type or ""):
            self.rotate(len(embeds))
        return self.language.model(inputs_embeds=embeds[None]).last_hidden_state[0]

    def text_loss(self, ids, labels, scene, coords=()):
        embeds = self.embeds(ids, scene, coords)
        logits = self.hidden(embeds) @ self.w["lm_head.weight"].T
        at, extra = ids.index(IMAGE), len(embeds) - len(ids) + 1
        spread = labels[:at] + [IGNORE] * extra + labels[at + 1 :]
        terms = [-logits[i - 1].log_softmax(-1)[label] for i, label in enumerate(spread) if i and label != IGNORE]
        return torch.stack(terms).mean()

    def scores(self, ids, scene):
        embeds = self.embeds(ids, scene, ())
        from_end = len(ids) - ids.index(self.o.ground_token_ids[0])
        query, features = self.hidden(embeds)[-from_end], self.proposals(scene)
        kind = self.o.ground_head_type
        if kind == "mlp":
            return torch.stack([self._head("ground_head", query, norm=2) @ f for f in features])
        if kind == "score":
            q = self._head("ground_head_query", query, norm=1)
            return torch.stack(
                [
                    self._head("ground_head_score", q * self._head("ground_head_obj", f, norm=1), norm=1)[0]
                    for f in features
                ]
            )
        q = self._head("ground_head_query", query, norm=2)
        slots = [*features, self.w["ground_head_zero_target"]]
        return torch.stack([F.cosine_similarity(q, self._head("ground_head_obj", f, norm=2), dim=0) for f in slots])

    def _head(self, name, x, norm):
        """Linear, then ReLU and norm in either order, then linear; `norm` is the norm's place among the modules."""
        w, b = (lambda i: self.w[f"{name}.{i}.weight"]), (lambda i: self.w[f"{name}.{i}.bias"])
        x = F.linear(x, w(0), b(0))
        x = F.layer_norm(F.relu(x), x.shape, w(2), b(2)) if norm == 2 else F.relu(F.layer_norm(x, x.shape, w(1), b(1)))
        return F.linear(x, w(3), b(3))

    def ground_loss(self, scores, targets):
        if self.o.ground_head_type == "infonce":
            share = (scores / self.o.ground_head_temperature).softmax(-1)
            return -torch.log(sum(share[i] for i in targets) if targets else share[-1])
        total = 0.0
        for i, score in enumerate(scores):
            p = torch.sigmoid(score)
            if i in targets:
                total -= torch.log(p) * (len(scores) - len(targets)) / len(targets)
            else:
                total -= torch.log(1 - p)
        return total / len(scores)

    def greedy(self, ids, scene, coords, count):
        embeds, out = self.embeds(ids, scene, coords), []
        for _ in range(count):
            out.append(int((self.hidden(embeds)[-1] @ self.w["lm_head.weight"].T).argmax()))
            embeds = torch.cat([embeds, self.w["model.embed_tokens.weight"][out[-1]][None]])
        return out


def _between(values, where):
    low = math.floor(where)
    high, share = min(low + 1, len(values) - 1), where - low
    return values[low] * (1 - share) + values[high] * share
