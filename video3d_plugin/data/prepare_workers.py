"""Runs one function over many jobs of `video3d prepare`: here, in processes, or on a cluster."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from video3d_plugin.errors import MissingError

Job = TypeVar("Job")
Result = TypeVar("Result")


def run_jobs(
    function: Callable[[Job], Result],
    jobs: Sequence[Job],
    *,
    processes: int = 1,
    backend: str = "loky",
    description: str = "",
) -> Iterator[Result]:
    """Yield the results in the order of the jobs, with a progress bar if the output is a terminal.

    Args:
        function: Called with one job at a time; sent to other processes by name.
        jobs: The jobs.
        processes: Number of processes; -1 for one a core.
        backend: joblib's backend: "loky", "threading", "dask" or "ray".
        description: Shown in front of the progress bar.

    Raises:
        MissingError: The backend's package is not installed.
    """
    from tqdm import tqdm

    bar = {"total": len(jobs), "desc": description, "unit": "scene", "disable": None}
    if backend == "loky" and (processes == 1 or len(jobs) <= 1):
        yield from tqdm(map(function, jobs), **bar)
        return
    import joblib

    return_as = "generator" if backend in ("loky", "threading") else "list"
    with _cluster(backend), joblib.parallel_config(backend=backend, n_jobs=processes):
        results = joblib.Parallel(return_as=return_as)(joblib.delayed(function)(job) for job in jobs)
        yield from tqdm(results, **bar)


@contextlib.contextmanager
def _cluster(backend: str) -> Iterator[None]:
    """Make joblib's `dask` and `ray` backends usable.

    Dask uses the client that exists, else the cluster that the environment names, else one on this machine.
    """
    try:
        if backend == "dask":
            from distributed import Client, default_client

            try:
                default_client()
            except ValueError:
                with Client():  # reads DASK_SCHEDULER_ADDRESS
                    yield
                return
        elif backend == "ray":
            from ray.util.joblib import register_ray

            register_ray()
    except ImportError as error:
        remedy = "pip install 'video3d-plugin[cluster]'" if backend == "dask" else "pip install ray"
        raise MissingError(f"--backend {backend} needs {error.name}", remedy=remedy) from error
    yield
