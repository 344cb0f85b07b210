"""A pretended GPU: tensors that say `cuda:0`, hold their numbers on the CPU, and do not mix with the CPU's.

Inside `with PretendedGpu() as gpu`, factories with a `cuda` device, `.to("cuda:0")` and all operations on the results
give `PretendedTensor`s. An operation on tensors of both devices raises `MixedDevices`, with the exceptions that a real
GPU makes: tensors of one number, and indices. `gpu.events` records what makes the host wait or copies between the two:

- "sync": a number or a tensor is read by the host, or the size of a result depends on its numbers;
- "copy": a tensor of the host goes to the device.

Each event names the function of this package that caused it, or of transformers where there is none.

Kernels that exist on a GPU only are computed by `gpu_kernels`, with the shapes and number formats of the real ones
(tests/model/attention/test_kernels.py compares them with the kernels' meta implementations).

    with PretendedGpu() as gpu:
        gpu.put(model)
        model(**batch).loss.backward()
    assert not gpu.events["sync", "model.modeling.forward"]
"""

from __future__ import annotations

import contextlib
import functools
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

import torch
from gpu_kernels import KERNELS, product_in
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_flatten, tree_map

DEVICE = torch.device("cuda", 0)
_ON_DEVICE = ("cuda", "meta")  # "meta" is what torch's own code reads of a PretendedTensor

# Operations whose result has a size that depends on numbers: the host waits for it.
_SIZED_BY_VALUES = {"nonzero", "masked_select", "unique_dim", "_unique2", "_unique", "unique_consecutive", "bincount"}
_BMM_IN = getattr(torch.ops.aten.bmm, "dtype", None)
_READS = {"_local_scalar_dense", "equal", "is_nonzero", "item"}


class MixedDevices(RuntimeError):
    """An operation got tensors of the host and of the device."""


class PretendedTensor(torch.Tensor):
    """A tensor of the pretended device. torch's C++ side sees a tensor on "meta" with the dispatch keys of CUDA."""

    numbers: torch.Tensor  # on the CPU

    @staticmethod
    def __new__(cls, numbers: torch.Tensor) -> PretendedTensor:
        with torch.inference_mode(numbers.is_inference()):
            outside = torch.empty_strided(numbers.shape, numbers.stride(), dtype=numbers.dtype, device="meta")
            new = torch.Tensor._make_subclass(cls, outside, False, device_for_backend_keys=DEVICE)
        new.numbers = numbers
        return new

    @property
    def device(self) -> torch.device:
        return DEVICE

    @property
    def is_meta(self) -> bool:
        return False

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        return f"PretendedTensor({self.numbers!r})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        gpu = PretendedGpu.active
        assert gpu is not None, f"{func} on a pretended GPU that is gone"
        return gpu.compute(func, args, kwargs or {})


class PretendedGpu(TorchDispatchMode):
    """The device; see the module.

    Attributes:
        events: How often each ("sync" | "copy", function) happened.
        kernels: How often each of `gpu_kernels` ran.
    """

    active: PretendedGpu | None = None

    def __init__(self) -> None:
        super().__init__()
        self.events: Counter[tuple[str, str]] = Counter()
        self.kernels: Counter[str] = Counter()

    def __enter__(self) -> PretendedGpu:
        PretendedGpu.active = self
        self._cuda = torch.cuda._lazy_init, torch.cuda.get_device_capability
        torch.cuda.get_device_capability = lambda device=None: (9, 0)
        if not torch.cuda.is_available():
            torch.cuda._lazy_init = lambda: None
        self._lifts = torch._C._only_lift_cpu_tensors()
        torch._C._set_only_lift_cpu_tensors(True)  # torch.tensor(..., device="cuda") copies from the host
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        torch._C._set_only_lift_cpu_tensors(self._lifts)
        torch.cuda._lazy_init, torch.cuda.get_device_capability = self._cuda
        PretendedGpu.active = None

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self.compute(func, args, kwargs or {})

    def put(self, module: torch.nn.Module) -> torch.nn.Module:
        """Move a module to the device, in place. `Module.to` keeps the class of parameters and cannot."""
        with _disable_current_modes():
            for part in module.modules():
                for name, parameter in part._parameters.items():
                    if parameter is not None:
                        moved = PretendedTensor(parameter.detach().clone())
                        part._parameters[name] = torch.nn.Parameter(moved, parameter.requires_grad)
                for name, buffer in part._buffers.items():
                    if buffer is not None:
                        part._buffers[name] = PretendedTensor(buffer.detach().clone())
        return module

    def compute(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        if _is_composite(func):
            with _Again(self):  # under inference_mode such functions arrive whole
                result = func.decompose(*args, **kwargs)
                if result is not NotImplemented:
                    return result
        name = func._schema.name.split("::")[-1]
        tensors = [t for t in tree_flatten((args, kwargs))[0] if isinstance(t, torch.Tensor)]
        ours = [t for t in tensors if isinstance(t, PretendedTensor)]
        target = kwargs.get("device")
        target = None if target is None else torch.device(target).type
        if ours and len(ours) < len(tensors):
            self._check_mix(name, args, tensors)
        if name in ("_to_copy", "copy_", "to"):
            self._count_copy(name, args, target)
        elif ours:
            self._count_sync(func, name, args, kwargs)
        if target in _ON_DEVICE:
            kwargs = {**kwargs, "device": torch.device("cpu")}
        on_device = target in _ON_DEVICE if target is not None else bool(ours)
        inner, named = tree_map(_numbers, (args, kwargs))
        kernel = product_in if func is _BMM_IN else KERNELS.get(name) if ours else None
        if kernel is not None:
            self.kernels[name] += 1
        result = (kernel or func)(*inner, **named)
        if func._schema.is_mutable and isinstance(args[0], PretendedTensor) and result is inner[0]:
            return args[0]
        if not on_device:
            return result
        return tree_map(lambda t: PretendedTensor(t) if isinstance(t, torch.Tensor) else t, result)

    def _check_mix(self, name: str, args: Any, tensors: list[torch.Tensor]) -> None:
        host = [t for t in tensors if not isinstance(t, PretendedTensor)]
        if name in ("index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index") and isinstance(
            args[0], PretendedTensor
        ):
            self._record("copy")  # indices of the host are sent along
            host = [] if len(args) < 3 or isinstance(args[2], PretendedTensor) or not args[2].ndim else [args[2]]
        if name in ("copy_", "_to_copy") or all(t.ndim == 0 for t in host):
            return
        shapes = [f"{t.device}{tuple(t.shape)}" for t in tensors]
        raise MixedDevices(f"{name} at {place()}: {', '.join(shapes)}")

    def _count_copy(self, name: str, args: Any, target: str | None) -> None:
        source = args[1] if name == "copy_" else args[0]
        to_device = isinstance(args[0], PretendedTensor) if name == "copy_" else target in _ON_DEVICE
        if name != "copy_" and target is None:
            to_device = isinstance(source, PretendedTensor)
        if isinstance(source, PretendedTensor) and not to_device:
            self._record("sync")
        elif to_device and not isinstance(source, PretendedTensor):
            self._record("copy")

    def _count_sync(self, func: Any, name: str, args: Any, kwargs: dict[str, Any]) -> None:
        masks = name in ("index", "index_put", "index_put_", "_index_put_impl_") and any(
            i is not None and i.dtype in (torch.bool, torch.uint8) for i in args[1]
        )
        repeats = name == "repeat_interleave" and kwargs.get("output_size") is None
        if name in _READS or name in _SIZED_BY_VALUES or masks or repeats:
            self._record("sync")

    def _record(self, kind: str) -> None:
        self.events[kind, place()] += 1


@functools.cache
def _is_composite(func: Any) -> bool:
    return bool(torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), "CompositeImplicitAutograd"))


class _Again(TorchDispatchMode):
    """The mode of a PretendedGpu, entered once more."""

    def __init__(self, gpu: PretendedGpu):
        super().__init__()
        self.gpu = gpu

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self.gpu.compute(func, args, kwargs or {})


def _numbers(value: Any) -> Any:
    return value.numbers if isinstance(value, PretendedTensor) else value


def place() -> str:
    """Return the innermost function of this package on the stack, else that of transformers, else "?"."""
    frame, other = sys._getframe(1), "?"
    while frame is not None:
        module, name = frame.f_globals.get("__name__", ""), frame.f_code.co_name
        if not name.startswith("<"):  # comprehensions have no frame in later versions of Python
            if module.startswith("video3d_plugin."):
                return f"{module.removeprefix('video3d_plugin.')}.{name}"
            if other == "?" and module.startswith("transformers."):
                other = f"{module}.{name}"
        frame = frame.f_back
    return other


class _AutocastFunctions(TorchFunctionMode):
    """Casts the arguments as autocast does on a GPU; torch's own asks the C++ side for the device."""

    def __init__(self, dtype: torch.dtype):
        super().__init__()
        self.dtype = dtype

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, name = kwargs or {}, getattr(func, "__name__", "")
        target = self.dtype if name in _IN_HALF else torch.float32 if name in _IN_FLOAT32 else None
        if target is not None and torch.is_autocast_enabled():

            def cast(value: Any) -> Any:
                ours = isinstance(value, PretendedTensor) and value.is_floating_point()
                return value.to(target) if ours else value

            args, kwargs = tree_map(cast, (args, kwargs))
        return func(*args, **kwargs)


# Of torch's lists (docs, "CUDA Ops that can autocast"), what the model calls.
_IN_HALF = {"linear", "matmul", "__matmul__", "bmm", "mm", "addmm", "einsum", "conv2d", "scaled_dot_product_attention"}
_IN_FLOAT32 = {
    "layer_norm", "softmax", "log_softmax", "cross_entropy", "nll_loss", "binary_cross_entropy_with_logits", "norm",
    "logsumexp", "exp", "log", "pow", "cumsum", "prod", "sum", "rsqrt",
}  # fmt: skip


@contextlib.contextmanager
def autocast(dtype: torch.dtype) -> Iterator[None]:
    """`torch.autocast("cuda", dtype)`, which torch refuses without a GPU."""
    before = torch.is_autocast_enabled()
    torch.set_autocast_enabled(True)
    try:
        with _AutocastFunctions(dtype):
            yield
    finally:
        torch.set_autocast_enabled(before)
