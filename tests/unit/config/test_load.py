"""One call reads, merges and checks a configuration, and reports all problems at once."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from swin_train.config import Config, ConfigError, load_config

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    monkeypatch.chdir(tmp_path)

    def write_file(name: str, text: str) -> Path:
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return write_file


def problems_of(*args: Any) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        load_config(*args)
    return caught.value.problems


def test_no_file_gives_the_defaults() -> None:
    cfg = load_config(None)

    assert cfg == Config()
    assert dict(cfg.origins) == {}


def test_later_sources_win_and_origins_tell(write: Write) -> None:
    write("base.yaml", "TRAIN: {EPOCHS: 1, WARMUP_EPOCHS: 0, BASE_LR: 1e-8, MIN_LR: 0}\nTAG: base\n")
    child = write("child.yaml", "BASE: [base.yaml]\nTRAIN:\n  EPOCHS: 2\n  CLIP_GRAD: 1\nSEED: 1\n")

    cfg = load_config(child, ["TRAIN.CLIP_GRAD", "2", "SEED", 2], [("SEED", "3", "--seed")])

    assert (cfg.TRAIN.BASE_LR, cfg.TRAIN.EPOCHS, cfg.TRAIN.CLIP_GRAD, cfg.SEED) == (1e-8, 2, 2.0, 3)
    assert cfg.origins["TAG"] == "base.yaml:2"
    assert cfg.origins["TRAIN.EPOCHS"] == "child.yaml:3"
    assert cfg.origins["TRAIN.CLIP_GRAD"] == "--opts"
    assert cfg.origins["SEED"] == "--seed"
    assert cfg.is_given("TAG")
    assert not cfg.is_given("OUTPUT")


def test_is_given_refuses_a_misspelt_key() -> None:
    with pytest.raises(KeyError, match=r"Did you mean MODEL.NUM_CLASSES\?"):
        Config().is_given("NUM_CLASSES")


def test_bases_are_relative_to_the_file_that_names_them(write: Write) -> None:
    write("a/root.yaml", "TAG: root\nSEED: 5\n")
    write("a/b/middle.yaml", "BASE: [../root.yaml]\nTAG: middle\n")
    leaf = write("leaf.yaml", "BASE: ['', a/b/middle.yaml]\n")

    cfg = load_config(leaf)

    assert (cfg.TAG, cfg.SEED) == ("middle", 5)
    assert cfg.origins["SEED"] == "a/root.yaml:2"
    assert cfg.BASE == ("",)


def test_a_base_may_be_the_name_of_a_configuration(write: Write) -> None:
    mine = write("mine.yaml", "BASE: [swin_small_patch4_window7_224]\nTAG: mine\n")

    assert load_config(mine).MODEL.SWIN.DEPTHS == (2, 2, 18, 2)


def test_a_circle_of_bases_is_reported(write: Write) -> None:
    write("a.yaml", "BASE: [b.yaml]\n")
    write("b.yaml", "BASE: [a.yaml]\n")

    assert problems_of("a.yaml") == ("b.yaml:1: BASE files form a circle: a.yaml -> b.yaml -> a.yaml",)


@pytest.mark.parametrize("length", [21, 1200])
def test_a_chain_of_too_many_bases_is_reported(write: Write, length: int) -> None:
    for number in range(1, length):
        write(f"{number}.yaml", f"BASE: [{number + 1}.yaml]\n")
    write(f"{length}.yaml", "TAG: end\n")

    assert problems_of("1.yaml") == ("20.yaml:1: BASE files form a chain of more than 20 files",)
    assert load_config(f"{length - 19}.yaml").TAG == "end"


def test_a_tree_of_too_many_bases_is_reported(write: Write) -> None:
    """Each file names the next one twice: 2^18 ways to the last one."""
    for number in range(18):
        write(f"{number}.yaml", f"BASE: [{number + 1}.yaml, {number + 1}.yaml]\n")
    write("18.yaml", "TAG: end\n")

    assert problems_of("0.yaml") == ("17.yaml:1: BASE leads to more than 100 files",)


@pytest.mark.parametrize(
    "text",
    [
        "".join(f"KEY{number}: 1\n" for number in range(5000)),
        "TAG: x\n" * 5000,
        f"BASE: [{'nothing.yaml, ' * 5000}]\n",
    ],
    ids=["unknown keys", "the same key", "missing files"],
)
def test_of_very_many_problems_the_first_are_reported(write: Write, text: str) -> None:
    *problems, end = problems_of(write("a.yaml", text))

    assert len(problems) == 50
    assert end == "and perhaps more: reading ended here"


@pytest.mark.parametrize("base", [False, True])
def test_python_code_is_no_configuration(write: Write, base: bool) -> None:
    write("code.py", "raise SystemExit('it ran')\n")
    write("a.yaml", "BASE: [code.py]\n")

    assert problems_of("a.yaml" if base else "code.py") == (
        f"{'a.yaml:1' if base else '--cfg'}: code.py is Python code, and none is run; write its values as YAML",
    )


def test_a_missing_base_is_reported_with_its_line(write: Write) -> None:
    write("a.yaml", "TAG: x\nBASE: [nothing_like_it.yaml]\n")

    (problem,) = problems_of("a.yaml")

    assert problem.startswith("a.yaml:2: nothing_like_it.yaml: no such file")


def test_all_problems_come_in_one_error_with_their_places(write: Write) -> None:
    text = """\
TRAIN:
  EPOCH: 3
  BASE_LR: fast
  LAYER_DECAY: 2
  EPOCHS: 3
  EPOCHS: 4
  OPTIMIZER: adamw
MODLE: {}
1: 2
A.B: 1
DATA:
  IMG_SIZE: {}
BASE: x.yaml
"""
    path = write("bad.yaml", text)

    problems = problems_of(path, ["AUG", 1, "img_size", 1, "TRAIN.EPOCHS", "[1", "BASE", "x"])

    assert set(problems) == {
        "bad.yaml:2: unknown key TRAIN.EPOCH. Did you mean TRAIN.EPOCHS?",
        "bad.yaml:3: TRAIN.BASE_LR must be a number; got the text 'fast'",
        "bad.yaml:4: TRAIN.LAYER_DECAY must be <= 1; got 2.0",
        "bad.yaml:6: TRAIN.EPOCHS is given twice, first on line 5",
        "bad.yaml:7: TRAIN.OPTIMIZER is a section; set one of its keys",
        "bad.yaml:8: unknown key MODLE. Did you mean MODEL?",
        "bad.yaml:9: 1 is no key; write one name, and nest sections",
        "bad.yaml:10: the text 'A.B' is no key; write one name, and nest sections",
        "bad.yaml:12: DATA.IMG_SIZE must be an integer or a list of 2 integers; got {}",
        "bad.yaml:13: BASE must be a list of texts; got the text 'x.yaml'",
        "--opts: AUG is a section; set one of its keys",
        "--opts: unknown key img_size. Did you mean DATA.IMG_SIZE?",
        "--opts: TRAIN.EPOCHS must be an integer; got the text '[1'",
        "--opts: BASE can only be given in a YAML file",
    }


def test_the_message_lists_every_problem() -> None:
    with pytest.raises(ConfigError, match=r"2 problems in the configuration:\n  - --opts: .*\n  - --opts: "):
        load_config(None, ["A", 1, "B", 2])


@pytest.mark.parametrize("text", ["- 1", "just text", "~"])
def test_a_file_without_keys_is_reported(write: Write, text: str) -> None:
    write("x.yaml", text)

    (problem,) = problems_of("x.yaml")

    assert problem.startswith("x.yaml: must hold KEY: VALUE lines; got ")


@pytest.mark.parametrize("text", ["", "# only a comment", "TRAIN:\nDATA: {}"])
def test_a_file_or_section_may_be_empty(write: Write, text: str) -> None:
    write("x.yaml", text)

    assert load_config("x.yaml") == Config()


def test_a_folder_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()

    assert problems_of("folder") == ("--cfg: folder: is a folder, and no configuration of that name.",)


def test_a_name_too_long_for_the_file_system_is_reported() -> None:
    (problem,) = problems_of("x" * 300)

    assert problem == f"--cfg: {'x' * 300}: no such file, and no configuration of that name."


@pytest.mark.parametrize(
    "name", ["swin_tiny_patch4_window7_22", "elsewhere/swin_tiny_patch4_window7_22.yaml"]
)
def test_an_unknown_name_is_reported_with_the_near_one(name: str) -> None:
    (problem,) = problems_of(name)

    assert problem.startswith("--cfg: ")
    assert problem.endswith("Did you mean the name swin_tiny_patch4_window7_224?")


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("TRAIN.BASE_LR", "1e-8", 1e-8),
        ("TRAIN.CLIP_GRAD", "1", 1.0),
        ("TRAIN.USE_CHECKPOINT", "True", True),
        ("TRAIN.OPTIMIZER.BETAS", "(0.9, 0.95)", (0.9, 0.95)),
        ("TRAIN.LR_SCHEDULER.MULTISTEPS", "(30,)", (30,)),
        ("TRAIN.LR_SCHEDULER.MULTISTEPS", "[30, 60]", (30, 60)),
        ("DATA.IMG_SIZE", "192", 192),
        ("DATA.IMG_SIZE", "[256, 320]", (256, 320)),
        ("DATA.IMG_SIZE", "(256, 320)", (256, 320)),
        ("MODEL.SWIN.QK_SCALE", "None", None),
        ("AUG.CUTMIX_MINMAX", "null", None),
        ("DATA.CACHE_MODE", "no", "no"),
        ("AUG.AUTO_AUGMENT", "none", "none"),
        ("TAG", "1.50", "1.50"),
        ("MODEL.RESUME", "", ""),
        ("TRAIN.FREEZE", "stages 2", "stages 2"),
    ],
)
def test_text_from_a_command_line_is_read_by_the_type_of_its_key(key: str, text: str, value: Any) -> None:
    assert load_config(None, [key, text]).flat()[key] == value


@pytest.mark.parametrize(("text", "size"), [("192", 192), ("[256, 320]", (256, 320)), ("[7, 7]", (7, 7))])
def test_an_image_size_of_a_file_stays_as_it_was_given(write: Write, text: str, size: object) -> None:
    write("x.yaml", f"DATA: {{IMG_SIZE: {text}}}")

    assert load_config("x.yaml").DATA.IMG_SIZE == size


def test_names_and_choices_keep_the_text_of_the_file(write: Write) -> None:
    write("x.yaml", "TAG: 1.50\nDATA: {CACHE_MODE: no}\nAMP_OPT_LEVEL:\n")

    cfg = load_config("x.yaml")

    assert (cfg.TAG, cfg.DATA.CACHE_MODE, cfg.AMP_OPT_LEVEL) == ("1.50", "no", "")


@pytest.mark.parametrize("line", ["AUG: {AUTO_AUGMENT: true}", "AUG: {AUTO_AUGMENT: 9}", "TAG: yes", "TAG:"])
def test_other_text_keys_refuse_what_is_no_text(write: Write, line: str) -> None:
    write("x.yaml", line)

    assert "must be text; got " in problems_of("x.yaml")[0]


def test_an_override_without_a_value_is_reported() -> None:
    assert problems_of(None, ["TRAIN.EPOCHS=3"]) == (
        "--opts: the text 'TRAIN.EPOCHS=3' has no value; write KEY VALUE pairs, set apart by spaces",
    )


def test_a_key_given_twice_with_different_values_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        cfg = load_config(None, ["DATA.BATCH_SIZE", "32"], [("DATA.BATCH_SIZE", "64", "--batch-size")])

    assert cfg.DATA.BATCH_SIZE == 64
    assert caplog.messages == [
        "DATA.BATCH_SIZE is given twice: --opts says 32, --batch-size says 64; the latter holds"
    ]


def test_a_key_given_twice_alike_is_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    load_config(None, ["DATA.BATCH_SIZE", 64], [("DATA.BATCH_SIZE", "64", "--batch-size")])

    assert caplog.messages == []


def test_a_flag_replaces_the_file_silently(write: Write, caplog: pytest.LogCaptureFixture) -> None:
    write("x.yaml", "DATA: {BATCH_SIZE: 32}")

    load_config("x.yaml", (), [("DATA.BATCH_SIZE", "64", "--batch-size")])

    assert caplog.messages == []


def test_a_key_that_does_nothing_is_warned_of_on_top_of_a_base(
    write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    write("mine.yaml", "BASE: [swin_tiny_patch4_window7_224]\nMODEL:\n  SWINV2:\n    WINDOW_SIZE: 8\n")

    load_config("mine.yaml")
    load_config("mine.yaml", ["MODEL.SWIN.WINDOW_SIZE", 8])  # as the warning says

    assert caplog.messages == [
        "mine.yaml:4: MODEL.SWINV2.WINDOW_SIZE is set, but MODEL.TYPE is swin; set MODEL.SWIN.WINDOW_SIZE"
    ]


def test_a_finding_of_the_checks_says_where_the_key_was_set(write: Write) -> None:
    write("x.yaml", "TRAIN:\n  EPOCHS: 10\n")

    assert problems_of("x.yaml") == (
        "x.yaml:2: TRAIN.EPOCHS is 10; it must be more than TRAIN.WARMUP_EPOCHS, which is 20",
    )
