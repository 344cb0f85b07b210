"""Each row of the table of attention kernels: when it is chosen, its shapes and formats, its values and gradients."""

from __future__ import annotations

import gpu_kernels
import pytest
import torch
from pretend_gpu import DEVICE, PretendedGpu

from video3d_plugin.model.attention import kernels, shared_prefix
from video3d_plugin.model.attention.packed import ItemAttention
from video3d_plugin.model.attention.shared_prefix import Layout

aten = torch.ops.aten
HALF = torch.bfloat16
pytestmark = pytest.mark.skipif(not hasattr(torch, "uint64"), reason="this torch's kernels return other seeds")


def numbers(*shape, seed=0, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed + sum(shape))).to(dtype)


@pytest.mark.parametrize(
    ("size", "dtype", "name"),
    [
        (16, torch.bfloat16, "FLASH"), (128, torch.float16, "FLASH"), (12, torch.bfloat16, "PLAIN"),
        (256, torch.bfloat16, "PLAIN"), (16, torch.float32, "EFFICIENT"), (12, torch.float32, "PLAIN"),
        (16, torch.float64, "PLAIN"),
    ],
)  # fmt: skip
def test_the_kernel_is_chosen_by_device_format_and_head_size(size, dtype, name):
    query = numbers(2, 3, size, dtype=dtype)
    assert kernels.kernel_for(query) is kernels.CPU_FLASH
    assert kernels.kernel_for(query.to("meta")) is kernels.PLAIN
    with PretendedGpu():
        assert kernels.kernel_for(query.to(DEVICE)).name == name


def test_older_gpus_take_no_flash_attention(monkeypatch):
    with PretendedGpu():
        query = numbers(2, 3, 16, dtype=HALF).to(DEVICE)
        monkeypatch.setattr(kernels, "_capability", lambda index: (7, 5))
        assert kernels.kernel_for(query) is kernels.PLAIN


def facts(result):
    return [(tuple(t.shape), t.dtype) if isinstance(t, torch.Tensor) else t for t in result]


def calls(device):
    """{kernel: its arguments, forward and backward}, of any numbers."""
    make = lambda *shape, dtype=HALF: numbers(*shape, dtype=dtype).to(device)  # noqa: E731
    ends = torch.tensor([0, 4, 21], dtype=torch.int32).to(device)
    seeds = tuple(t.to(device) for t in (torch.zeros(2, dtype=torch.uint64), torch.zeros((), dtype=torch.uint64)))
    zero = torch.zeros((), dtype=torch.int64).to(device)
    q, k, v = make(1, 4, 21, 16), make(1, 4, 70, 16), make(1, 4, 70, 16)
    a, b, c = q.float(), k.float(), v.float()
    x, y, z = make(21, 8, 16), make(21, 2, 16), make(21, 2, 16)
    lse, padded, packed = (make(*s, dtype=torch.float32) for s in ((1, 4, 21), (1, 4, 32), (8, 21)))
    wanted = [True, True, True, False]
    return {
        "_scaled_dot_product_flash_attention": (q, k, v, 0.0, False),
        "_scaled_dot_product_flash_attention_backward":
            (q, q, k, v, q, lse, None, None, 21, 70, 0.0, False, *seeds),
        "_flash_attention_forward": (x, y, z, ends, ends, 17, 17, 0.0, True, False),
        "_flash_attention_backward": (x, x, y, z, x, packed, ends, ends, 17, 17, 0.0, True, *seeds),
        "_scaled_dot_product_efficient_attention": (a, b, c, None, True, 0.0, False),
        "_scaled_dot_product_efficient_attention_backward":
            (a, a, b, c, None, a, padded, zero, zero, 0.0, wanted, False),
    }  # fmt: skip


@pytest.mark.parametrize("name", sorted(gpu_kernels.KERNELS))
def test_the_pretended_kernels_have_the_shapes_and_formats_of_the_real_ones(name):
    real = getattr(aten, name)(*calls("meta")[name])
    assert facts(gpu_kernels.KERNELS[name](*calls("cpu")[name])) == facts(real)


@pytest.mark.parametrize("kernel", kernels.KERNELS, ids=lambda kernel: kernel.name)
@pytest.mark.parametrize("queries", [1, 21, 64])
@pytest.mark.parametrize("causal", [False, True])
def test_values_and_gradients_of_each_row_are_the_plain_ones(kernel, queries, causal):
    dtype, tolerance = (HALF, 2e-2) if kernel is kernels.FLASH else (torch.float32, 1e-5)
    keys = queries if causal else 70
    q, k, v, grad = (numbers(2, n, 16, seed=i, dtype=dtype) for i, n in enumerate((queries, keys, keys, queries)))
    out, lse, _ = kernels.PLAIN.forward(q.float(), k.float(), v.float(), causal)
    lse = lse + 0.5  # as if there were another part
    expected = kernels.PLAIN.backward(*(t.float() for t in (grad, q, k, v, out)), lse, (), causal)
    on = "cpu" if kernel in (kernels.CPU_FLASH, kernels.PLAIN) else DEVICE
    with PretendedGpu() as gpu:
        parts = [t.to(on) for t in (q, k, v)]
        found, sums, seeds = kernel.forward(*parts, causal)
        slopes = kernel.backward(grad.to(on), *parts, out.to(dtype).to(on), lse.to(on), seeds, causal)
        found, sums, *slopes = (t.cpu() for t in (found, sums, *slopes))
    assert sum(gpu.kernels.values()) == (0 if on == "cpu" else 2)
    assert found.dtype == dtype and sums.dtype == torch.float32 and torch.allclose(sums, lse - 0.5, atol=1e-5)
    for one, other in zip((found, *slopes), (out, *expected), strict=True):
        assert one.shape == other.shape and torch.allclose(one.float(), other, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("dtype", [torch.float32, HALF])
@pytest.mark.parametrize("lengths", [[5], [3, 1, 6, 2]])
def test_packed_questions_on_the_device_are_those_of_the_cpu(lengths, dtype):
    count = sum(lengths)
    shapes = [(count, 2, 3, 16), (5, 2, 16), (5, 2, 16), (count, 2, 16), (count, 2, 16)]
    parts = [numbers(*shape, seed=i, dtype=dtype) for i, shape in enumerate(shapes)]
    grad = numbers(*shapes[0], seed=9, dtype=dtype)

    def both(on):
        leaves = [t.to(on).requires_grad_() for t in parts]
        out = ItemAttention.apply(*leaves, Layout.of(lengths, leaves[0].device))
        slopes = torch.autograd.grad(out, leaves, grad.to(on))
        return [t.detach().cpu().float() for t in (out, *slopes)]

    expected = both("cpu")
    with PretendedGpu() as gpu:
        found = both(DEVICE)
    ran = set(gpu.kernels)
    assert ran and all(("flash" in name) == (dtype == HALF) for name in ran)
    assert ("_flash_attention_backward" in ran) == (dtype == HALF)
    tolerance = 1e-5 if dtype == torch.float32 else 4e-2
    for one, other in zip(found, expected, strict=True):
        assert torch.allclose(one, other, atol=tolerance, rtol=tolerance)


def test_scores_in_half_precision_are_not_rounded_before_the_softmax():
    query, key, value = (numbers(2, n, 64, seed=i, dtype=HALF) * 3 for i, n in enumerate((33, 200, 200)))
    out, lse = gpu_kernels.attention(query.double(), key.double(), value.double(), False)
    for device in ("cpu", DEVICE):
        with PretendedGpu():
            found, sums = shared_prefix.attend_plain(*(t.to(device) for t in (query, key, value)))
            found, sums = found.cpu(), sums.cpu()
        assert float((sums - lse).abs().max()) < 1e-4  # rounded scores: 8e-2
        assert torch.allclose(found.double(), out, rtol=1e-2, atol=1e-2)
