"""What tests share: digits as an image folder, a tiny Swin, those of other libraries, main.py, a web server."""

import http.server
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from ranks import Ranks, clean_environment

REPO = Path(__file__).resolve().parents[1]


def shape_of(family: str) -> dict[str, object]:
    """Return the keys of a Swin that takes milliseconds: two stages, shifted windows in the first at 16 px."""
    sizes = {"PATCH_SIZE": 2, "EMBED_DIM": 8, "DEPTHS": [2, 1], "NUM_HEADS": [1, 2], "WINDOW_SIZE": 4}
    return {"MODEL.TYPE": family} | {f"MODEL.{family.upper()}.{name}": size for name, size in sizes.items()}


TINY = {
    "DATA.IMG_SIZE": 16,
    "DATA.BATCH_SIZE": 8,
    "DATA.NUM_WORKERS": 0,
    "MODEL.NAME": "tiny",
    "MODEL.DROP_PATH_RATE": 0.2,
    **shape_of("swin"),
    "TRAIN.EPOCHS": 2,
    "TRAIN.WARMUP_EPOCHS": 1,
    "TRAIN.BASE_LR": 0.05,
    "PRINT_FREQ": 1,
    "DEVICE": "cpu",
}


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep indexes of data sets out of the user's cache folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SWIN_TRAIN_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four classes of real digits, 10 to train on and 5 to evaluate on in each, as 16 px PNG files."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    folder = tmp_path_factory.mktemp("digits")
    for label in range(4):
        chosen = images[labels == label][:15].reshape(-1, 8, 8)
        for i, pixels in enumerate(chosen):
            path = folder / ("train" if i < 10 else "val") / f"digit_{label}" / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray((pixels * 15).astype(np.uint8)).resize((16, 16)).save(path)
    return folder


@pytest.fixture
def tiny_opts(digits: Path, tmp_path: Path) -> Callable[..., list[str]]:
    """Give the overrides of a tiny run on the digits: a flat list of keys and values, changed as asked."""

    def opts(**changes: object) -> list[str]:
        keys = TINY | {"DATA.DATA_PATH": str(digits), "OUTPUT": str(tmp_path / "output")}
        keys |= {name.replace("__", "."): value for name, value in changes.items()}
        return [part for key, value in keys.items() for part in (key, _text(value))]

    return opts


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def run_main(
    *arguments: str,
    processes: int = 0,
    env: dict[str, str] | None = None,
    cwd: Path = REPO,
    timeout: float = 120,
) -> subprocess.CompletedProcess[str]:
    """Run main.py to its end; with ``processes`` by torchrun."""
    return subprocess.run(
        main_command(*arguments, processes=processes),
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=timeout,
        env=main_environment(env),
    )


def main_command(*arguments: str, processes: int = 0) -> list[str]:
    """Return the command line of main.py, under torchrun where ``processes`` is not 0."""
    launcher: Sequence[str] = ()
    if processes:
        launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes))
    return [sys.executable, *launcher, str(REPO / "main.py"), *arguments]


def main_environment(extra: dict[str, str] | None = None) -> dict[str, str]:
    """Return an environment without traces of an outer launcher, one thread a process."""
    return clean_environment() | (extra or {})


@pytest.fixture(name="run_main")
def _run_main() -> Callable[..., subprocess.CompletedProcess[str]]:
    return run_main


@pytest.fixture(name="main_command")
def _main_command() -> Callable[..., list[str]]:
    return main_command


@pytest.fixture(name="main_environment")
def _main_environment() -> Callable[..., dict[str, str]]:
    return main_environment


@pytest.fixture(scope="session")
def _rank_server(_own_cache: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ranks]:
    ranks = Ranks(tmp_path_factory.mktemp("ranks"))
    yield ranks
    ranks.close()


@pytest.fixture
def ranks(_rank_server: Ranks) -> Iterator[Ranks]:
    """Starts main.py in several processes within a second; see ``ranks.py``. None of them outlives the test."""
    yield _rank_server
    _rank_server.kill()


@pytest.fixture
def several_opts(tiny_opts: Callable[..., list[str]]) -> Callable[..., list[str]]:
    """Give main.py's arguments of a tiny run of several processes: 4 images each, 8 an update, 5 updates an epoch."""

    def arguments(**changes: object) -> list[str]:
        changes = {"DATA__BATCH_SIZE": 4, "TRAIN__GLOBAL_BATCH": 8, "AUG__MIX_GROUP": 2, **changes}
        return ["--cfg", "swin_tiny_patch4_window7_224", "--opts", *tiny_opts(**changes)]

    return arguments


@pytest.fixture(name="shape_of")
def _shape_of() -> Callable[[str], dict[str, object]]:
    return shape_of


@pytest.fixture
def peer_model() -> Callable[..., Any]:
    """Makes a Swin of timm or of torchvision, of two stages under windows of 4 where the sizes do not say otherwise."""
    from timm.models import swin_transformer, swin_transformer_v2
    from torchvision.models import swin_transformer as torchvision_swin

    def make(peer: str, family: str, **changes: Any) -> Any:
        sizes = {"img_size": 16, "patch_size": 2, "embed_dim": 8, "depths": (2, 1), "num_heads": (2, 4)}
        sizes |= {"window_size": 4, "num_classes": 5, **changes}
        is_v2 = family == "swinv2"
        if peer == "timm":
            timm_swin = swin_transformer_v2.SwinTransformerV2 if is_v2 else swin_transformer.SwinTransformer
            return timm_swin(**sizes)
        del sizes["img_size"]  # torchvision's are of no size
        sizes |= {name: [sizes[name]] * 2 for name in ("patch_size", "window_size")}
        if is_v2:
            sizes["block"] = torchvision_swin.SwinTransformerBlockV2
            sizes["downsample_layer"] = torchvision_swin.PatchMergingV2
        return torchvision_swin.SwinTransformer(**sizes)

    return make


@pytest.fixture
def assert_equal() -> Callable[[Mapping[str, Any], Mapping[str, Any]], None]:
    """Two state dicts have the same names, types and values."""
    import torch

    def compare(found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
        torch.testing.assert_close(dict(found), dict(expected), rtol=0, atol=0)

    return compare


class Site:
    """A web server on this machine; ``requests`` holds the paths that were asked for."""

    def __init__(self) -> None:
        self.requests: list[str] = []
        self._answers: dict[str, Callable[[http.server.BaseHTTPRequestHandler], None]] = {}
        site = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.requests.append(self.path)
                site._answers.get(self.path, lambda handler: handler.send_error(404))(self)

            def log_message(self, *arguments: object) -> None:
                """Say nothing."""

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"

    def give(
        self,
        path: str,
        body: bytes,
        *,
        length: int | None = None,
        kind: str = "application/octet-stream",
        packing: str = "",
        location: str = "",
        status: int = 200,
        before: Callable[[], object] = bool,
        after: Callable[[], object] = bool,
    ) -> str:
        """Answer ``path`` with ``body`` from now on, and return its URL.

        Args:
            path: begins with a slash.
            body: the content.
            length: the number of bytes that is announced, where it is not that of ``body``; -1: none is.
            kind: the content type.
            packing: the content encoding, where it says one.
            location: where the answer leads on to, if it does.
            status: of the answer.
            before, after: called before and after the answer, while the connection is open.
        """

        def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
            before()
            handler.send_response(status)
            handler.send_header("Content-Type", kind)
            if packing:
                handler.send_header("Content-Encoding", packing)
            if location:
                handler.send_header("Location", location)
            if length != -1:
                handler.send_header("Content-Length", str(len(body) if length is None else length))
            handler.end_headers()
            handler.wfile.write(body)
            after()

        self._answers[path] = answer
        return self.address + path


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A web server on this machine. What is downloaded from it goes to ``tmp_path / "torch_home"``."""
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch_home"))
    site = Site()
    thread = threading.Thread(target=site.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield site
    site.server.shutdown()
    thread.join()
    site.server.server_close()
