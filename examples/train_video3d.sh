#!/usr/bin/env bash
# Video-3D LLM's training inside an unedited LLaVA-NeXT checkout: 8 GPUs, the paper's settings.
#
#   pip install 'video3d-plugin[train]'
#   video3d prepare SCANNET --output DATA                 # once
#   CHECKPOINT=.../LLaVA-Video-7B-Qwen2 DATA=DATA LLAVA_NEXT=.../LLaVA-NeXT examples/train_video3d.sh
#
# Settings: LaVi-Lab/Video-3D-LLM at 3ff70e8, scripts/3d/train/train_multi.sh: one epoch, 16 items per step, learning rate
# 1e-5 (vision tower 2e-6), cosine, warm-up 0.03, bfloat16, 32 frames. Left out: --torch_compile (compiles the layers;
# its gain has not been measured) and --group_by_task_length (a batch may mix tasks).
#
# DeepSpeed: ZeRO-2; ZERO=3 selects ZeRO-3, which the reference uses.
#
# Memory, calculated, not measured: 8.0e9 parameters in bfloat16 take 16 GB on every GPU, and gradients the same while they
# are reduced. ZeRO-2 shards float32 weights and AdamW states, 12 bytes per parameter: 12 GB on each of 8 GPUs. Activations
# of 6800 tokens with gradient checkpointing take some 15 GB. Total: about 60 GB, so 8 x 80 GB. ZeRO-3 also shards
# parameters and gradients: 2 + 2 + 12 + 15 GB and the layers in use, about 35 GB.
#
# Time, not measured: the paper reports 32 hours on 8 A100-80G for its 223k items, or 13,900 steps of 8.3 s. Calculated:
# 8 x 7.6e9 x 6800 = 4.1e14 FLOP per item in the language model (forward, recomputation, backward), 0.4e14 in its attention,
# 0.8e14 in the tower. 223k items in 32 hours are then 40 % of 8 x 312 TFLOP/s. --questions_per_scene N computes tower and
# prefix once for up to N items.
set -euo pipefail

: "${CHECKPOINT:?set CHECKPOINT to LLaVA-Video-7B-Qwen2 (a folder)}"
: "${DATA:?set DATA to a folder of 'video3d prepare'}"
: "${LLAVA_NEXT:?set LLAVA_NEXT to a LLaVA-NeXT checkout (df17966 or b42941c)}"
HERE="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
OUTPUT="$(realpath -m "${OUTPUT:-runs/video3d}")"
CHECKPOINT="$(realpath "$CHECKPOINT")"
DATA="$(realpath "$DATA")"
GPUS="${GPUS:-8}"
ITEMS_PER_STEP=16

cd "$LLAVA_NEXT"
PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" torchrun --standalone --nproc_per_node "$GPUS" llava/train/train_mem.py \
    --model video3d \
    --deepspeed "$HERE/deepspeed/zero${ZERO:-2}.json" \
    --model_name_or_path "$CHECKPOINT" \
    --version qwen_1_5 \
    --data_path "$DATA" \
    --mm_tunable_parts mm_vision_tower,mm_mlp_adapter,mm_language_model \
    --mm_vision_tower_lr 2e-6 \
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
    --tf32 True \
    --attn_implementation "${ATTENTION:-sdpa}" \
    --gradient_checkpointing True \
    --model_max_length 32768 \
    --num_train_epochs 1 \
    --per_device_train_batch_size 1 \
    --gradient_accumulation_steps $((ITEMS_PER_STEP / GPUS)) \
    --learning_rate 1e-5 \
    --weight_decay 0. \
    --warmup_ratio 0.03 \
    --lr_scheduler_type cosine \
    --save_strategy steps \
    --save_steps 500 \
    --save_total_limit 1 \
    --logging_steps 1 \
    --dataloader_num_workers 4 \
    --dataloader_drop_last True \
    --report_to none \
    --output_dir "$OUTPUT" \
    "$@"
