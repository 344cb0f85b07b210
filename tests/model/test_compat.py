"""The cache of keys and values, under the old and the new of transformers' names."""

from __future__ import annotations

import pytest
import torch
from transformers import DynamicCache

from video3d_plugin.compat import CACHE


@torch.no_grad()
def test_a_pass_goes_on_from_the_cache_of_the_one_before_whatever_it_is_called(pair):
    model = pair[0].eval()
    ids = torch.tensor([[5, 6, 7, 8, 9]])
    whole = model(input_ids=ids, use_cache=False)
    assert CACHE not in whole
    for name in ("past_key_values", "cache"):
        # transformers 4.45 returns a tuple where it is given no cache.
        first = model(input_ids=ids[:, :3], use_cache=True, **{name: DynamicCache()})
        assert first[CACHE].get_seq_length() == 3
        rest = model(input_ids=ids[:, 3:], use_cache=True, **{name: first[CACHE]})
        torch.testing.assert_close(rest.logits, whole.logits[:, 3:])
        with pytest.raises(AssertionError):  # the rest by itself is another text
            torch.testing.assert_close(model(input_ids=ids[:, 3:]).logits, whole.logits[:, 3:])
