"""Answers through an inference engine that others keep: vLLM, in this process or behind a URL.

The engine loads the language part of a checkpoint (`video3d export --format vllm`). This package computes the
embeddings of a scene and sends them with each question as prompt embeddings, so that the engine's prefix cache holds
the scene. `base` has the interface, `in_process` and `server` implement it, `answers` asks questions through it.
"""
