#!/usr/bin/env bash
# Video-3D LLM with LoRA inside an unedited LLaVA-NeXT checkout: one GPU, the paper's settings otherwise.
#
#   CHECKPOINT=.../LLaVA-Video-7B-Qwen2 DATA=DATA LLAVA_NEXT=.../LLaVA-NeXT examples/train_video3d_lora.sh
#
# Adapters on the language model's linear layers; embeddings, output layer, grounding head, position embedding, newline
# token and projector are trained in full; the vision tower is frozen. 16 items a step by accumulation; learning rate and
# rank are not of the paper, which has no LoRA run. The result loads with load_model(OUTPUT), which finds its base.
#
# DeepSpeed is there for one GPU too: it steps a float32 copy of what is trained. Without it the steps are taken in
# bfloat16, which rounds the small ones at the end of the schedule away.
#
# Memory, calculated and not measured: 8.0e9 frozen and full parameters in bfloat16 are 16 GB; 1.1e9 trained in full (two
# embeddings) and 0.3e9 of adapters with gradients (2 bytes), their float32 copy (4) and AdamW's states (8) are 20 GB, and
# 6 more while a step is taken; activations of 6800 tokens with gradient checkpointing some 15 GB: about 55 GB.
#
# Time, calculated and not measured: 6 x 7.6e9 x 6800 = 3.1e14 FLOP an item in the language model (frozen weights need no
# gradients), 0.4e14 in its attention, 0.2e14 in the frozen tower. At 40 % of peak (what the paper's 32 hours on 8 A100
# come to, see train_video3d.sh) an A100 takes 3 s an item, an H100 0.9 s: for the paper's 223k items 190 or 58 hours.
# --questions_per_scene N pays for tower and prefix once in up to N items.
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
