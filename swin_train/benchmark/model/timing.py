"""Seconds of functions, in interleaved rounds, on a CPU or a GPU."""

import time
from collections.abc import Callable, Mapping

import torch


def wait(device: torch.device) -> None:
    """Wait until the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def seconds_of(function: Callable[[int], None], times: int, device: torch.device) -> float:
    """Seconds of one call, on average over ``times`` in a row, numbered from 0; the host waits once."""
    wait(device)
    start = time.perf_counter()
    for number in range(times):
        function(number)
    wait(device)
    return (time.perf_counter() - start) / times


def interleaved(
    functions: Mapping[str, Callable[[int], None]],
    *,
    rounds: int,
    times: int,
    device: torch.device,
    progress: Callable[[str], None],
) -> dict[str, list[float]]:
    """Seconds of a call of each function by round; every second round goes backwards, so that none is always first."""
    found: dict[str, list[float]] = {name: [] for name in functions}
    for number in range(1, rounds + 1):
        progress(f"round {number} of {rounds}")
        for name in list(functions)[:: 1 if number % 2 else -1]:
            found[name].append(seconds_of(functions[name], times, device))
    return found
