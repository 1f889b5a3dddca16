"""Files of strangers run no code through any door: each is refused by its reason, and leaves no trace."""

import json
import os
import pickle
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed.checkpoint as dcp

from swin_train import create_model, load_config
from swin_train.cli.main import main
from swin_train.errors import UserError
from swin_train.weights.manifest import write_manifest

CFG = ["--cfg", "swin_tiny_patch4_window7_224"]
WOULD_RUN = "refused, because reading it would run code: posix.system"
NO_STATE = "holds no training state to go on from"


class Payload:
    """Pickles as a command that leaves a file behind."""

    def __init__(self, trace: Path) -> None:
        self.command = f"touch '{trace}'"

    def __reduce__(self) -> tuple:
        return os.system, (self.command,)


@pytest.fixture
def trace(tmp_path: Path):
    """The file that a payload leaves; it must not be there in the end."""
    trace = tmp_path / "PWNED"
    yield trace
    assert not trace.exists()


def torch_file(path: Path, trace: Path) -> Path:
    torch.save({"model": {"norm.weight": torch.ones(2)}, "config": Payload(trace)}, path)
    return path


def raw_pickle(path: Path, trace: Path) -> Path:
    path.write_bytes(pickle.dumps(Payload(trace), protocol=2))
    return path


def native_checkpoint(path: Path, trace: Path) -> Path:
    """A folder of torch.distributed.checkpoint, whose .metadata and items are pickles."""
    dcp.save({"model": {"norm.weight": torch.ones(2)}}, checkpoint_id=path)
    (path / ".metadata").write_bytes(pickle.dumps(Payload(trace)))
    torch_file(next(path.glob("*.distcp")), trace)
    return path


def object_array(path: Path, trace: Path) -> Path:
    with path.open("wb") as file:
        np.save(file, np.array([Payload(trace)], dtype=object), allow_pickle=True)
    return path


def huggingface_folder(path: Path, trace: Path) -> Path:
    path.mkdir()
    (path / "config.json").write_text("{}")
    torch_file(path / "pytorch_model.bin", trace)
    return path


NOT_SAFETENSORS = "cannot be read as a checkpoint, it is damaged or of another kind"
FILES: dict[str, tuple[Callable[[Path, Path], Path], str]] = {
    "w.pt": (torch_file, WOULD_RUN),
    "w.pth": (torch_file, WOULD_RUN),
    "w.bin": (torch_file, WOULD_RUN),
    "w.ckpt": (torch_file, WOULD_RUN),
    "raw.pth": (raw_pickle, WOULD_RUN),
    "w.pkl": (raw_pickle, "the ending '.pkl' is not known"),
    "w.npy": (object_array, "the ending '.npy' is not known"),
    "npy.pth": (object_array, NOT_SAFETENSORS),
    "torch.safetensors": (torch_file, NOT_SAFETENSORS),
    "pickle.safetensors": (raw_pickle, NOT_SAFETENSORS),
    "native": (native_checkpoint, "is a folder without "),
    "step-00000002": (native_checkpoint, "is a folder without "),
    "huggingface": (huggingface_folder, WOULD_RUN),
}


def refusal(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """Run main.py in this process to its refusal; return the message."""
    assert main(argv) == 2
    error = capsys.readouterr().err
    assert "Traceback" not in error
    return error.rpartition("error: ")[2]


def pretrained(path: Path, opts: list[str]) -> list[str]:
    return [*CFG, "--pretrained", str(path), "--opts", *opts]


def evaluated(path: Path, opts: list[str]) -> list[str]:
    return [*CFG, "--eval", "--resume", str(path), "--opts", *opts]


def converted(path: Path, opts: list[str]) -> list[str]:
    return ["convert", str(path), str(path.parent / "out.safetensors"), "--to", "timm"]


@pytest.mark.parametrize("door", [pretrained, evaluated, converted])
@pytest.mark.parametrize("name", FILES)
def test_weights_that_would_run_code(
    name: str, door: Callable, tmp_path: Path, trace: Path, tiny_opts: Callable, capsys: pytest.CaptureFixture
) -> None:
    make, reason = FILES[name]
    path = make(tmp_path / name, trace)

    message = refusal(capsys, *door(path, tiny_opts()))

    assert str(path) in message
    assert reason in message


@pytest.mark.parametrize("name", FILES)
def test_the_library_refuses_them_too(name: str, tmp_path: Path, trace: Path) -> None:
    make, reason = FILES[name]
    path = make(tmp_path / name, trace)

    with pytest.raises(UserError) as error:
        create_model("swin_tiny_patch4_window7_224", pretrained=path)

    assert reason in str(error.value)


@pytest.mark.parametrize("name", FILES)
def test_no_training_goes_on_from_them(
    name: str, tmp_path: Path, trace: Path, tiny_opts: Callable, capsys: pytest.CaptureFixture
) -> None:
    path = FILES[name][0](tmp_path / name, trace)

    message = refusal(capsys, *CFG, "--resume", str(path), "--opts", *tiny_opts())

    assert str(path) in message
    assert (NO_STATE if name != "step-00000002" else "MANIFEST.json") in message


def test_a_url_that_gives_them(site, trace: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    url = site.give("/w.pth", torch_file(tmp_path / "w.pth", trace).read_bytes())

    message = refusal(capsys, "convert", url, str(tmp_path / "out.safetensors"), "--to", "timm")

    assert WOULD_RUN in message


def test_they_would_run_code_where_nothing_refuses(tmp_path: Path) -> None:
    """That the tests above test something."""
    ran = tmp_path / "ran"

    def runs(read: Callable[[], object]) -> None:
        with suppress(AttributeError):  # the result of a command is not what torch looks for
            read()
        assert ran.exists()
        ran.unlink()

    file = torch_file(tmp_path / "w.pth", ran)
    runs(lambda: torch.load(file, weights_only=False))
    runs(lambda: pickle.loads(raw_pickle(tmp_path / "raw", ran).read_bytes()))
    array = object_array(tmp_path / "w.npy", ran)
    runs(lambda: np.load(array, allow_pickle=True))
    native = native_checkpoint(tmp_path / "native", ran)
    runs(lambda: dcp.FileSystemReader(native).read_metadata())


@pytest.fixture
def run(tiny_opts: Callable, tmp_path: Path) -> Path:
    """The folder of a run of one epoch."""
    assert main([*CFG, "--opts", *tiny_opts(TRAIN__EPOCHS=1, TRAIN__WARMUP_EPOCHS=0)]) == 0
    return tmp_path / "output/tiny/default"


def newest_state(run: Path) -> Path:
    return sorted((run / "checkpoints").glob("step-*"))[-1]


def sign(folder: Path) -> None:
    """Give a folder a manifest that is true of it, as whoever fills it can."""
    manifest = folder / "MANIFEST.json"
    facts = json.loads(manifest.read_text())
    del facts["files"]
    manifest.unlink()
    write_manifest(folder, facts)


@pytest.mark.parametrize("door", ["own folder", "--resume"])
def test_every_file_of_a_training_state_may_be_a_pickle(
    door: str, run: Path, trace: Path, tiny_opts: Callable, capsys: pytest.CaptureFixture
) -> None:
    whole = newest_state(run)
    names = [path.name for path in whole.iterdir() if path.name != "MANIFEST.json"]
    kept = shutil.copytree(whole, run.parent / "kept")
    longer = tiny_opts(TRAIN__EPOCHS=2, TRAIN__WARMUP_EPOCHS=0)
    for name in names:
        raw_pickle(whole / name, trace)
        sign(whole)
        flags = ["--tag", "other", "--resume", str(whole)] if door == "--resume" else []
        capsys.readouterr()
        try:
            status = main([*CFG, *flags, "--opts", *longer])
        except Exception as error:  # a traceback is no pleasure to read, and no danger
            status = repr(error)
        assert status != 0, name
        assert not trace.exists(), name
        shutil.rmtree(whole)
        shutil.copytree(kept, whole)


def test_pickles_beside_a_training_state_are_not_looked_at(
    run: Path, trace: Path, tiny_opts: Callable, capsys: pytest.CaptureFixture
) -> None:
    whole = newest_state(run)
    for name in (".metadata", "__0_0.distcp", "optimizer.pt", "rng_state_0.pth"):
        raw_pickle(whole / name, trace)
    sign(whole)

    assert main([*CFG, "--opts", *tiny_opts(TRAIN__EPOCHS=2, TRAIN__WARMUP_EPOCHS=0)]) == 0


YAML = {
    "!!python/object/apply:os.system ['touch {trace}']": "tags (tag:yaml.org,2002:python/object/apply:os.system)",
    "!!python/object/new:os.system ['touch {trace}']": "tags (tag:yaml.org,2002:python/object/new:os.system)",
    "!!python/name:os.system": "tags (tag:yaml.org,2002:python/name:os.system)",
    "!!python/module:os": "tags (tag:yaml.org,2002:python/module:os)",
    "!!python/tuple [1]": "tags (tag:yaml.org,2002:python/tuple)",
    "!include /etc/passwd": "tags (!include)",
}


@pytest.mark.parametrize("door", ["--cfg", "BASE", "library"])
@pytest.mark.parametrize("text", YAML)
def test_a_configuration_with_tags(
    text: str, door: str, tmp_path: Path, trace: Path, capsys: pytest.CaptureFixture
) -> None:
    file, base = tmp_path / "a.yaml", tmp_path / "b.yaml"
    file.write_text(f"TAG: {text.format(trace=trace)}\n")
    base.write_text("BASE: [a.yaml]\n")

    if door == "library":
        with pytest.raises(UserError) as error:
            load_config(file)
        message = str(error.value)
    else:
        message = refusal(capsys, "config", "show", "--cfg", str(base if door == "BASE" else file))

    assert f"{file}:1: {YAML[text]} are not allowed" in message


def test_a_value_of_the_command_line_with_tags(trace: Path) -> None:
    """It is text like any other: no document with tags, so no YAML."""
    cfg = load_config(None, ["TAG", f"!!python/object/apply:os.system ['touch {trace}']"])

    assert cfg.TAG.startswith("!!python")


@pytest.mark.parametrize("door", ["--cfg", "library"])
def test_a_configuration_of_python_code(
    door: str, tmp_path: Path, trace: Path, capsys: pytest.CaptureFixture
) -> None:
    file = tmp_path / "cfg.py"
    file.write_text(f"open({str(trace)!r}, 'w')\ncfg = {{'TAG': 'x'}}\n")

    if door == "library":
        with pytest.raises(UserError) as error:
            load_config(file)
        message = str(error.value)
    else:
        message = refusal(capsys, "config", "show", "--cfg", str(file))

    assert f"{file} is Python code, and none is run" in message
