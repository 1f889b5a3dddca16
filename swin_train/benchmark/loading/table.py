"""The result for people, at most 110 columns wide."""

from swin_train.benchmark.loading.contenders import CONTENDERS, OFFICIAL, PREFETCHER
from swin_train.benchmark.loading.loader import LoaderResult
from swin_train.benchmark.text import aligned, shown

_PARTS = ("read", "decode", "resize", "finish", "transfer")


def as_text(result: LoaderResult) -> str:
    """All tables, one below the other."""
    blocks = [_costs(result), _scaling(result), _memory(result), _stages(result), _left_out(result)]
    return "\n\n".join("\n".join(block) for block in blocks if block)


def _costs(result: LoaderResult) -> list[str]:
    rows: list[tuple[str, ...]] = [("", "images per core-second", "x official", "x timm-prefetcher")]
    for name in result.names:
        against = [result.ratio(name, reference) for reference in (OFFICIAL, PREFETCHER)]
        rows.append((name, shown(result.cost(name), 0), *(shown(ratio, 2) for ratio in against)))
    lines = aligned(rows)
    lines += ["", "what a batch is when it leaves the host"]
    lines += aligned([(f"  {name}", CONTENDERS[name].result) for name in result.names], is_text=True)
    if result.device_ms is not None:
        place = "one core of the CPU" if result.device == "cpu" else result.device
        lines.append(
            f"what is left to the device costs {result.device_ms.median:.3f} ms per image on {place}"
        )
    return lines


def _scaling(result: LoaderResult) -> list[str]:
    if len(result.threads) == 1:
        return []
    rows = [("images per second, by threads", *(str(threads) for threads in result.threads))]
    for name in result.names:
        speeds = [
            f"{result.speed(name, threads).median:.0f} ({result.scaling(name, threads).median:.2f}x)"
            for threads in result.threads
        ]
        rows.append((name, *speeds))
    return aligned(rows)


def _memory(result: LoaderResult) -> list[str]:
    if not result.memory:
        return []
    rows = [("memory, MB", "peak", "after each epoch", "growth")]
    for name, memory in result.memory.items():
        if memory is None:
            rows.append((name, "its process failed", "", ""))
            continue
        epochs = " ".join(f"{size:.0f}" for size in memory.after_epoch_mb)
        rows.append((name, f"{memory.peak_mb:.0f}", epochs, f"{memory.growth_mb:+.0f}"))
    return aligned(rows)


def _stages(result: LoaderResult) -> list[str]:
    if not result.stages:
        return []
    rows: list[tuple[str, ...]] = [("what limits, ms per image", *_PARTS, "sum")]
    for name, parts in result.stages.items():
        total = sum(parts.values())
        rows.append((name, *(f"{parts[p]:.2f} ({parts[p] / total:.0%})" for p in _PARTS), f"{total:.2f}"))
    return aligned(rows)


def _left_out(result: LoaderResult) -> list[str]:
    return [f"not measured: {name}: {reason}" for name, reason in result.left_out.items()]
