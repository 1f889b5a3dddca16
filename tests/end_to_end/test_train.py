"""The main job in one process: train, evaluate, fine-tune."""

from pathlib import Path

import pytest
import torch
from faults import flip_bit
from run_records import losses, records
from safetensors.torch import load_file
from state_digest import read_state

from swin_train import evaluate, load_config, train
from swin_train.benchmark.model.throughput import throughput
from swin_train.config import output_dir
from swin_train.engine.checkpoint import Checkpointer
from swin_train.errors import NumericsError, UserError


def steps(folder):
    return sorted((folder / "checkpoints").iterdir())


def test_a_run_leaves_what_it_promises(tiny_opts):
    summary = train(load_config(None, tiny_opts()))

    folder = summary.folder
    assert [path.name for path in sorted((folder / "checkpoints").iterdir())] == [
        "step-00000005",
        "step-00000010",
    ]
    assert {path.name for path in (folder / "weights").iterdir()} == {"best.safetensors", "last.safetensors"}
    assert [record["step"] for record in records(folder, "train")] == list(range(1, 11))
    assert [record["epoch"] for record in records(folder, "val")] == [1, 2]
    assert all(record["num_images"] == 20 for record in records(folder, "val"))
    assert list((folder / "tensorboard").iterdir())
    assert "2 epochs x 5 updates" in (folder / "log.txt").read_text()
    assert max(record["top1"] for record in records(folder, "val")) == summary.best["raw"]


def test_config_yaml_is_as_given_and_starts_the_same_run(tiny_opts):
    cfg = load_config(None, tiny_opts())
    summary = train(cfg)

    again = load_config(summary.folder / "config.yaml")

    assert again == cfg
    assert again.TRAIN.BASE_LR == 0.05  # not scaled to the batch


def test_evaluate_gives_what_training_measured(tiny_opts):
    summary = train(load_config(None, tiny_opts()))

    result = evaluate(
        load_config(None, tiny_opts(MODEL__RESUME=str(summary.folder / "weights/last.safetensors")))
    )

    assert result == summary.evaluation
    assert (result.num_images, result.k) == (20, 4)  # four classes: top-5 is top-4
    assert result.topk == 100.0


def test_evaluate_takes_a_checkpoint_folder_and_its_averaged_weights(tiny_opts):
    summary = train(load_config(None, tiny_opts(TRAIN__EMA_DECAY=0.9)))
    step = str(summary.folder / "checkpoints/step-00000010")
    last = records(summary.folder, "val")[-1]

    raw = evaluate(load_config(None, tiny_opts(MODEL__RESUME=step)))
    ema = evaluate(load_config(None, tiny_opts(MODEL__RESUME=step, TEST__WEIGHTS="ema")))

    assert (raw.top1, raw.loss) == (last["top1"], last["loss"])
    assert (ema.top1, ema.loss) == (last["ema_top1"], last["ema_loss"])
    assert raw.loss != ema.loss


def test_evaluations_of_swin_v2_follow_its_updates(tiny_opts, shape_of):
    """What a model keeps between batches must not outlive an update, of its weights or of their average."""
    v2 = shape_of("swinv2")
    summary = train(load_config(None, tiny_opts(**v2, TRAIN__EMA_DECAY=0.5, TRAIN__BASE_LR=1.0)))
    last = records(summary.folder, "val")[-1]
    weights, step = str(summary.folder / "weights/last.safetensors"), str(steps(summary.folder)[-1])

    raw = evaluate(load_config(None, tiny_opts(**v2, MODEL__RESUME=weights)))
    ema = evaluate(load_config(None, tiny_opts(**v2, MODEL__RESUME=step, TEST__WEIGHTS="ema")))

    assert (raw.top1, raw.loss) == (last["top1"], last["loss"])
    assert (ema.top1, ema.loss) == (last["ema_top1"], last["ema_loss"])


def test_evaluate_without_a_training_set(tiny_opts, digits, tmp_path):
    summary = train(load_config(None, tiny_opts()))
    (tmp_path / "only_val").mkdir()
    (tmp_path / "only_val" / "val").symlink_to(digits / "val")

    result = evaluate(
        load_config(
            None,
            tiny_opts(
                DATA__DATA_PATH=str(tmp_path / "only_val"),
                MODEL__RESUME=str(summary.folder / "weights/last.safetensors"),
            ),
        )
    )

    assert result == summary.evaluation


def test_evaluate_says_which_weights_and_how_images_differ(tiny_opts, capsys):
    summary = train(load_config(None, tiny_opts(TRAIN__EMA_DECAY=0.9)))
    checkpoint = str(summary.folder / "weights/best_ema.safetensors")
    capsys.readouterr()

    evaluate(load_config(None, tiny_opts(MODEL__RESUME=checkpoint, DATA__MEAN=[0.5, 0.5, 0.5])))

    error = capsys.readouterr().err
    assert "best_ema.safetensors: ema weights, fp32, on cpu" in error
    assert "evaluated with DATA.MEAN [0.5, 0.5, 0.5] instead of [0.485, 0.456, 0.406]" in error


def test_evaluate_of_a_runs_folder_names_its_checkpoints(tiny_opts):
    folder = train(load_config(None, tiny_opts())).folder

    with pytest.raises(UserError, match=r"holds several checkpoints; .*weights/best.safetensors"):
        evaluate(load_config(None, tiny_opts(MODEL__RESUME=str(folder))))


@pytest.mark.parametrize(("key", "use"), [("MODEL.RESUME", evaluate), ("MODEL.PRETRAINED", train)])
def test_a_damaged_checkpoint_folder_is_refused(tiny_opts, key, use):
    summary = train(load_config(None, tiny_opts()))
    [state] = summary.folder.glob("checkpoints/step-00000010/*.safetensors")
    flip_bit(state)

    with pytest.raises(UserError, match=r"\.safetensors has another SHA-256"):
        use(load_config(None, tiny_opts(MODEL__NAME="other", **{key: str(state.parent)})))


@pytest.mark.parametrize("checkpoint", ["weights/last.safetensors", "checkpoints/step-00000010"])
def test_evaluate_refuses_a_checkpoint_of_other_classes(tiny_opts, digits, tmp_path, checkpoint):
    summary = train(load_config(None, tiny_opts()))
    for label in range(4):
        (tmp_path / "other/val").mkdir(parents=True, exist_ok=True)
        (tmp_path / f"other/val/letter_{label}").symlink_to(digits / f"val/digit_{label}")

    with pytest.raises(UserError, match=r"8 differ: digit_0.*evaluate it on images of its own classes"):
        evaluate(
            load_config(
                None,
                tiny_opts(
                    DATA__DATA_PATH=str(tmp_path / "other"),
                    MODEL__RESUME=str(summary.folder / checkpoint),
                ),
            )
        )


def test_throughput_is_measured_and_says_its_precision(tiny_opts, capsys):
    images_per_s = throughput(load_config(None, tiny_opts(MODEL__RESUME="none.pth")))

    said = capsys.readouterr().err
    assert f"batch_size 8 throughput {images_per_s:.1f} images/s (fp32, cpu, " in said
    assert "MODEL.RESUME none.pth is not read: weights do not change the speed" in said


def test_fine_tuning_at_twice_the_resolution_says_what_it_adapted(tiny_opts):
    summary = train(load_config(None, tiny_opts()))
    best = summary.folder / "weights/best.safetensors"

    tuned = train(
        load_config(
            None,
            tiny_opts(
                MODEL__NAME="tuned",
                MODEL__PRETRAINED=str(best),
                DATA__IMG_SIZE=32,
                MODEL__SWIN__WINDOW_SIZE=8,
            ),
        )
    )

    log = (tuned.folder / "log.txt").read_text()
    assert "resized 3 bias tables" in log
    name = "layers.0.blocks.0.attn.relative_position_bias_table"
    assert load_file(tuned.folder / "weights/last.safetensors")[name].shape == (15 * 15, 1)


def test_frozen_stages_do_not_move_and_have_no_optimizer_state(tiny_opts):
    summary = train(load_config(None, tiny_opts()))
    best = summary.folder / "weights/best.safetensors"

    tuned = train(
        load_config(
            None,
            tiny_opts(MODEL__NAME="tuned", MODEL__PRETRAINED=str(best), TRAIN__FREEZE="stages 1"),
        )
    )

    before = load_file(best)
    after = read_state(tuned.folder / "checkpoints/step-00000010")
    frozen = [name for name in before if name.startswith(("patch_embed.", "layers.0.blocks."))]
    assert frozen
    assert all(torch.equal(before[name], after[f"model.{name}"]) for name in frozen)
    assert not torch.equal(before["head.weight"], after["model.head.weight"])
    assert not [key for key in after if key.startswith(("optim.patch_embed.", "optim.layers.0.blocks."))]
    assert "optim.head.weight.exp_avg" in after


@pytest.mark.parametrize(
    "changes",
    [
        {"AUG__MIXUP": 0.0},
        {"AUG__CUTMIX": 0.0},
        {"AUG__MIXUP": 0.0, "AUG__CUTMIX": 0.0},
        {"TRAIN__LOSS": "bce"},
        {"TRAIN__LOSS": "bce", "AUG__MIXUP": 0.0, "AUG__CUTMIX": 0.0},
        {"TRAIN__CLASS_WEIGHTS": [1, 2, 3, 4]},
        {"TRAIN__OPTIMIZER__NAME": "sgd", "TRAIN__BASE_LR": 0.5},
        {"AMP_DTYPE": "bf16"},
        {"AMP_DTYPE": "fp16", "TRAIN__EMA_DECAY": 0.99},
        {"TRAIN__USE_CHECKPOINT": True, "MODEL__SWIN__APE": True},
        {"TRAIN__CHECKPOINT_STAGES": [0]},
        {"TRAIN__ACCUMULATION_STEPS": 2, "DATA__BATCH_SIZE": 4},
    ],
    ids=lambda changes: " ".join(f"{key.split('__')[-1]}={value}" for key, value in changes.items()),
)
def test_every_kind_of_run_trains(tiny_opts, changes):
    summary = train(load_config(None, tiny_opts(**changes)))

    found = losses(summary.folder)
    assert len(found) == 10
    assert all(loss is not None and loss < 10 for loss in found)
    first, last = (read_state(path) for path in steps(summary.folder))
    assert all(not torch.equal(first[name], last[name]) for name in first if name.startswith("model."))


def test_accumulation_with_a_ragged_tail_gives_the_same_losses(tiny_opts):
    """8 images an update at once, and as 3 + 3 + 2: the sums are over the same images."""
    plain = {"AUG__MIXUP": 0.0, "AUG__CUTMIX": 0.0, "TRAIN__GLOBAL_BATCH": 8}

    whole = train(load_config(None, tiny_opts(**plain, DATA__BATCH_SIZE=8)))
    ragged = train(load_config(None, tiny_opts(**plain, DATA__BATCH_SIZE=3, MODEL__NAME="ragged")))

    assert losses(ragged.folder) == pytest.approx(
        losses(whole.folder), rel=1e-5
    )  # float32, other order of summation


@pytest.mark.parametrize("save_steps", [0, 1])
def test_weights_that_are_not_finite_are_never_saved(tiny_opts, save_steps):
    """One update an epoch: the loss is measured before the update that spoils the weights."""
    cfg = load_config(
        None,
        tiny_opts(
            DATA__BATCH_SIZE=20,
            TRAIN__BASE_LR=1e38,
            TRAIN__MIN_LR=1e38,
            TRAIN__WARMUP_EPOCHS=0,
            TRAIN__CLIP_GRAD=0.0,
            SAVE_STEPS=save_steps,
        ),
    )

    with pytest.raises(NumericsError, match=r"not finite|is nan|is inf"):
        train(cfg)

    saved = output_dir(cfg).glob("**/*.safetensors")
    assert all(tensor.isfinite().all() for path in saved for tensor in load_file(path).values())


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_state_that_is_not_finite_is_not_saved(tiny_opts, monkeypatch, value):
    real = Checkpointer.save

    def save_spoilt(checkpoints, state, *rest, **named):
        with torch.no_grad():
            state.model.head.bias[1] = value
        real(checkpoints, state, *rest, **named)

    monkeypatch.setattr(Checkpointer, "save", save_spoilt)
    cfg = load_config(None, tiny_opts())

    with pytest.raises(
        NumericsError, match=r"step 5: model.head.bias holds numbers that are not finite; it was not saved"
    ):
        train(cfg)

    assert list((output_dir(cfg) / "checkpoints").glob("*")) == []


def test_a_loss_that_is_not_finite_ends_the_run_unsaved(tiny_opts):
    cfg = load_config(
        None, tiny_opts(TRAIN__BASE_LR=1e30, TRAIN__WARMUP_LR=1e30, TRAIN__CLIP_GRAD=0.0, TRAIN__EPOCHS=3)
    )

    with pytest.raises(NumericsError, match=r"not finite|Lower TRAIN.BASE_LR \(now 1e\+30\)"):
        train(cfg)

    assert not list(Path(cfg.OUTPUT).glob("**/checkpoints/step-*"))
    assert not list(Path(cfg.OUTPUT).glob("**/weights/*"))
