#!/usr/bin/env bash
# Video-3D LLM with LoRA inside an unedited LLaVA-NeXT checkout: one GPU, otherwise the paper's settings.
#
#   CHECKPOINT=.../LLaVA-Video-7B-Qwen2 DATA=DATA LLAVA_NEXT=.../LLaVA-NeXT examples/train_video3d_lora.sh
#
# Adapters are on the linear layers of the language model. Embeddings, output layer, grounding head, position encoding,
# newline token and projector are trained in full; the vision tower is frozen. Gradients are accumulated over 16 items. The
# paper has no LoRA run, so learning rate and rank are not from it. load_model(OUTPUT) loads the result with its base.
#
# DeepSpeed is used on one GPU too, because it keeps a float32 copy of the trained weights. Steps in bfloat16 would round
# small updates at the end of the schedule to zero.
#
# Memory, calculated, not measured: 8.0e9 parameters in bfloat16 take 16 GB. 1.1e9 parameters trained in full (two
# embeddings) and 0.3e9 of adapters take 20 GB with gradients (2 bytes), float32 copy (4) and AdamW states (8), and 6 GB more
# during a step. Activations of 6800 tokens with gradient checkpointing take some 15 GB. Total: about 55 GB.
#
# Time, calculated, not measured: 6 x 7.6e9 x 6800 = 3.1e14 FLOP per item in the language model (frozen weights need no
# gradients), 0.4e14 in its attention, 0.2e14 in the frozen tower. At 40 % of the peak (from the paper's 32 hours on 8 A100,
# see train_video3d.sh), an A100 takes 3 s per item and an H100 0.9 s: 190 or 58 hours for the paper's 223k items.
# --questions_per_scene N computes tower and prefix once for up to N items.
set -euo pipefail

: "${CHECKPOINT:?set CHECKPOINT to LLaVA-Video-7B-Qwen2 (a folder)}"
: "${DATA:?set DATA to a folder of 'video3d prepare'}"
: "${LLAVA_NEXT:?set LLAVA_NEXT to a LLaVA-NeXT checkout (df17966 or b42941c)}"
HERE="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
OUTPUT="$(realpath -m "${OUTPUT:-runs/video3d-lora}")"
CHECKPOINT="$(realpath "$CHECKPOINT")"
DATA="$(realpath "$DATA")"

cd "$LLAVA_NEXT"
PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" torchrun --standalone --nproc_per_node 1 llava/train/train_mem.py \
    --model video3d \
    --deepspeed "$HERE/deepspeed/zero2.json" \
    --lora_enable True \
    --lora_r 128 \
    --lora_alpha 256 \
    --model_name_or_path "$CHECKPOINT" \
    --version qwen_1_5 \
    --data_path "$DATA" \
    --mm_tunable_parts mm_mlp_adapter,mm_language_model \
    --mm_use_im_start_end False \
    --mm_use_im_patch_token False \
    --mm_projector_type mlp2x_gelu \
    --mm_patch_merge_type spatial_unpad \
    --mm_newline_position grid \
    --mm_spatial_pool_stride 2 \
    --world_position_embedding_type avg-discrete-sin3d \
    --object_feature_type patch14-pe \
    --ground_head_type infonce \
    --add_spatial_instruction True \
    --frame_sampling_strategy uniform \
    --frames_upbound 32 \
    --bf16 True \
    --attn_implementation "${ATTENTION:-sdpa}" \
    --gradient_checkpointing True \
    --model_max_length 32768 \
    --num_train_epochs 1 \
    --per_device_train_batch_size 1 \
    --gradient_accumulation_steps 16 \
    --learning_rate 1e-4 \
    --weight_decay 0. \
    --warmup_ratio 0.03 \
    --lr_scheduler_type cosine \
    --save_strategy steps \
    --save_steps 500 \
    --save_total_limit 1 \
    --logging_steps 1 \
    --dataloader_num_workers 4 \
    --report_to none \
    --output_dir "$OUTPUT" \
    "$@"
