"""Where the time of a back end goes: each part measured alone or by what it adds, in CPU milliseconds per image."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from swin_train.benchmark.loading.bench import Bench, Load
from swin_train.benchmark.loading.chains import chain_pass, open_picture
from swin_train.benchmark.loading.contenders import CONTENDERS, OFFICIAL
from swin_train.benchmark.loading.excerpt import Decoded, Excerpt
from swin_train.benchmark.loading.feeds import feed_pass
from swin_train.benchmark.rounds import Pass, Sample, run_rounds, spread
from swin_train.data.decode import decode
from swin_train.errors import UserError

_IN_PROCESS, _ONE_WORKER = Load(0), Load(1)
_PLAIN = Load(0, augmented=False)
_NUM_DECODED = 256  # pictures held as pixels: 150 MB of ImageNet

# The back ends that are taken apart, with the pass that ends at the resize.
_RESIZED: dict[str, Callable[[Bench, Load], Pass]] = {
    OFFICIAL: lambda bench, load: chain_pass(bench, load, use_prefetcher=True),
    "portable-host": lambda bench, load: feed_pass(bench, load, "portable", "device"),
    "native-host": lambda bench, load: feed_pass(bench, load, "native", "device"),
}


def measure_stages(
    bench: Bench, num_rounds: int, progress: Callable[[str], None]
) -> dict[str, dict[str, float]]:
    """By back end, milliseconds per image of: read, decode, resize, finish and transfer.

    finish: everything after the resize: operations, normalising, erasing and collating. transfer: from the
    worker process to the main process; threads need none. A part is the median of its differences by round,
    so that one that costs next to nothing may come out below zero.
    """
    passes: dict[tuple[str, str], Pass] = {("", name): load for name, load in _common(bench).items()}
    names = []
    for name, resized in _RESIZED.items():
        try:
            passes |= {(name, part): load for part, load in _parts(bench, name, resized).items()}
        except UserError:  # said in the table of contenders already
            continue
        names.append(name)
    samples = run_rounds(passes, num_rounds, progress)
    return {name: _shares(samples, name) for name in names}


def _common(bench: Bench) -> dict[str, Pass]:
    images = Excerpt(bench.source, bench.num_images)
    channels = len(bench.configure({}).DATA.MEAN)
    mode = "RGB" if channels == 3 else "L"

    def over(step: Callable[[int], object]) -> Pass:
        return lambda number: sum(step(i) is not None for i in range(images.num_images))

    return {
        "read": over(images.read),
        "pillow": over(lambda i: open_picture(images.read(i), mode)),
        "libjpeg": over(lambda i: decode(images.read(i), channels, images.name(i))),
    }


def _parts(bench: Bench, name: str, resized: Callable[[Bench, Load], Pass]) -> dict[str, Pass]:
    make = CONTENDERS[name].make
    parts = {"whole": make(bench, _IN_PROCESS), "resized": resized(bench, _PLAIN)}
    if name != "native-host":
        return parts | {"worker": make(bench, _ONE_WORKER)}
    decoded = Decoded(Excerpt(bench.source, _NUM_DECODED), len(bench.configure({}).DATA.MEAN))
    return parts | {"resize": resized(replace(bench, source=decoded), _PLAIN)}


def _shares(samples: Mapping[tuple[str, str], list[Sample]], name: str) -> dict[str, float]:
    def ms(part: str, owner: str = name) -> list[float]:
        return [sample.ms for sample in samples[owner, part]]

    def difference(more: list[float], less: list[float]) -> float:
        return spread([a - b for a, b in zip(more, less, strict=True)]).median

    read, resized, whole = ms("read", ""), ms("resized"), ms("whole")
    shares = {"read": spread(read).median}
    if name == "native-host":  # it decodes only what is shown: known from the resize alone
        resize = ms("resize")
        undecoded = [a + b for a, b in zip(read, resize, strict=True)]
        shares |= {"decode": difference(resized, undecoded), "resize": spread(resize).median}
    else:
        decoded = ms("pillow" if name == OFFICIAL else "libjpeg", "")
        shares |= {"decode": difference(decoded, read), "resize": difference(resized, decoded)}
    shares["finish"] = difference(whole, resized)
    shares["transfer"] = difference(ms("worker"), whole) if name != "native-host" else 0.0
    return shares
