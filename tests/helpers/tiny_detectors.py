"""Small random detectors of transformers: DETECTORS[kind](folder) writes a checkpoint with its processor."""

from __future__ import annotations

import json
from pathlib import Path

import torch
import transformers as t

NAMES = {0: "chair", 1: "table", 2: "lamp"}
_LABELS = {"num_labels": 3, "id2label": NAMES, "label2id": {name: number for number, name in NAMES.items()}}
_OWN_BACKBONE = {"backbone": None, "use_timm_backbone": False, "use_pretrained_backbone": False}
_WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", "?", "chair", "table", "coffee", "lamp")


def _saved(folder: Path, model, processor) -> Path:
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def yolos(folder: Path) -> Path:
    torch.manual_seed(0)
    config = t.YolosConfig(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, image_size=[32, 48],
        num_detection_tokens=5, **_LABELS,
    )  # fmt: skip
    processor = t.YolosImageProcessor(size={"shortest_edge": 32, "longest_edge": 48})
    return _saved(folder, _sure_of(t.YolosForObjectDetection(config), "class_labels_classifier.layers.2"), processor)


def rt_detr(folder: Path) -> Path:
    torch.manual_seed(0)
    backbone = t.RTDetrResNetConfig(
        embedding_size=8, hidden_sizes=[8] * 4, depths=[1] * 4, layer_type="basic",
        out_features=["stage2", "stage3", "stage4"],
    )  # fmt: skip
    config = t.RTDetrConfig(
        backbone_config=backbone, encoder_hidden_dim=16, encoder_in_channels=[8] * 3, encoder_ffn_dim=16,
        encoder_attention_heads=2, d_model=16, decoder_in_channels=[16] * 3, decoder_ffn_dim=16, decoder_layers=1,
        decoder_attention_heads=2, num_queries=6, num_denoising=0, **_LABELS, **_OWN_BACKBONE,
    )  # fmt: skip
    model = t.RTDetrForObjectDetection(config)
    for layer in model.model.decoder.class_embed:
        torch.nn.init.constant_(layer.bias, 2.0)
    return _saved(folder, model, t.RTDetrImageProcessor(size={"height": 64, "width": 64}))


def mask2former(folder: Path) -> Path:
    torch.manual_seed(0)
    config = t.Mask2FormerConfig(
        backbone_config=_swin(["stage1", "stage2", "stage3", "stage4"]), feature_size=32, mask_feature_size=32,
        hidden_dim=32, encoder_feedforward_dim=16, encoder_layers=1, decoder_layers=2, num_attention_heads=2,
        dim_feedforward=16, num_queries=5, **_LABELS, **_OWN_BACKBONE,
    )  # fmt: skip
    model = _sure_of(t.Mask2FormerForUniversalSegmentation(config), "class_predictor")
    return _saved(folder, model, t.Mask2FormerImageProcessor(size={"height": 64, "width": 64}))


def sam(folder: Path) -> Path:
    torch.manual_seed(0)
    vision = t.SamVisionConfig(
        hidden_size=16, output_channels=8, num_hidden_layers=1, num_attention_heads=2, image_size=32, patch_size=8,
        mlp_dim=16, global_attn_indexes=[0], window_size=2, num_pos_feats=4, initializer_range=0.1,
    )  # fmt: skip
    prompts = t.SamPromptEncoderConfig(
        hidden_size=8, image_size=32, patch_size=8, image_embedding_size=4, mask_input_channels=4
    )
    decoder = t.SamMaskDecoderConfig(
        hidden_size=8, mlp_dim=16, num_hidden_layers=1, num_attention_heads=2, iou_head_hidden_dim=8,
        attention_downsample_rate=1,
    )  # fmt: skip
    config = t.SamConfig(
        vision_config=vision.to_dict(), prompt_encoder_config=prompts.to_dict(), mask_decoder_config=decoder.to_dict()
    )
    model = t.SamModel(config)
    with torch.no_grad():  # masks with sharp borders, and of a high predicted quality
        head = model.mask_decoder.iou_prediction_head.proj_out
        head.weight.zero_()
        head.bias.fill_(1.0)
        for hypernetwork in model.mask_decoder.output_hypernetworks_mlps:
            hypernetwork.proj_out.weight.mul_(1e9)
            hypernetwork.proj_out.bias.mul_(1e9)
    images = t.SamImageProcessor(size={"longest_edge": 32}, pad_size={"height": 32, "width": 32})
    return _saved(folder, model, t.SamProcessor(images))


def owlv2(folder: Path) -> Path:
    torch.manual_seed(0)
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ("!", *letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>")
    text = t.Owlv2TextConfig(
        vocab_size=len(words), hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=16, bos_token_id=53, eos_token_id=54, pad_token_id=0,
    )  # fmt: skip
    vision = t.Owlv2VisionConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=32, patch_size=8
    )
    config = t.Owlv2Config(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=16)
    model = t.Owlv2ForObjectDetection(config)
    torch.nn.init.constant_(model.class_head.logit_shift.bias, 2.0)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({word: number for number, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = t.CLIPTokenizer.from_pretrained(folder, model_max_length=16)
    return _saved(folder, model, t.Owlv2Processor(t.Owlv2ImageProcessor(size={"height": 32, "width": 32}), tokenizer))


def grounding_dino(folder: Path) -> Path:
    torch.manual_seed(0)
    text = t.BertConfig(
        vocab_size=len(_WORDS), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=64,
    )  # fmt: skip
    config = t.GroundingDinoConfig(
        backbone_config=_swin(["stage2", "stage3", "stage4"]), text_config=text, d_model=32, encoder_layers=1,
        decoder_layers=2, encoder_ffn_dim=16, decoder_ffn_dim=16, encoder_attention_heads=2,
        decoder_attention_heads=2, num_queries=6, num_feature_levels=3, max_text_len=32, **_OWN_BACKBONE,
    )  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(_WORDS) + "\n")
    tokenizer = t.BertTokenizerFast.from_pretrained(folder)
    images = t.GroundingDinoImageProcessor(size={"shortest_edge": 32, "longest_edge": 64})
    return _saved(folder, t.GroundingDinoForObjectDetection(config), t.GroundingDinoProcessor(images, tokenizer))


def bert(folder: Path) -> Path:
    """No detector."""
    config = t.BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
    t.BertModel(config).save_pretrained(folder)
    return folder


def _swin(stages: list[str]):
    return t.SwinConfig(
        embed_dim=8, depths=[1] * 4, num_heads=[1] * 4, window_size=2, image_size=32, out_features=stages
    )


def _sure_of(model, layer: str):
    """The model with a bias of its classifier that makes every score high."""
    classifier = model.get_submodule(layer)
    torch.nn.init.zeros_(classifier.weight)
    torch.nn.init.zeros_(classifier.bias)
    with torch.no_grad():
        classifier.bias[0] = 5.0
    return model


DETECTORS = {
    "yolos": yolos, "rt_detr": rt_detr, "mask2former": mask2former, "sam": sam, "owlv2": owlv2,
    "grounding_dino": grounding_dino,
}  # fmt: skip
