"""The name under which transformers passes the cache of keys and values: `cache` from 5.24, `past_key_values` before.

The old name is a deprecated alias in arguments, and none in the outputs of models outside transformers.
"""

from __future__ import annotations

from dataclasses import fields

from transformers.modeling_outputs import CausalLMOutputWithPast

CACHE = "cache" if "cache" in {field.name for field in fields(CausalLMOutputWithPast)} else "past_key_values"
