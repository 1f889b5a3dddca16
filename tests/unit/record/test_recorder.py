"""What a run writes down and shows."""

import io
import json
import logging
import re

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.tensorboard import SummaryWriter

from swin_train.record import Recorder

NUMBERS = {
    "epoch": 1,
    "loss": 2.25,
    "lr": 1e-3,
    "grad_norm": 1.5,
    "images_per_s": 1234.5,
    "data_wait": 0.07,
    "memory_mb": 512.0,
}


def train(recorder, step, **changes):
    recorder.train({"step": step, **NUMBERS, **changes}, total_steps=10, epochs=2, eta_s=3725)


def curve(folder, name):
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    return [(event.step, event.value) for event in events.Scalars(name)]


def test_a_line_says_how_far_and_how_fast(tmp_path, capsys):
    with Recorder(tmp_path, is_main=True) as recorder:
        recorder.start(0, 0)
        train(recorder, 4, loss_scale=65536.0)

    line = (
        "train epoch 1/2 step 4/10 loss 2.2500 lr 0.001 grad_norm 1.500 images/s 1234 data_wait 7% "
        "mem 512MB left 1:02:05 loss_scale 65536"
    )
    assert line in capsys.readouterr().err
    assert line in (tmp_path / "log.txt").read_text()


def test_small_learning_rates_are_not_shown_as_zero(tmp_path, capsys):
    with Recorder(tmp_path, is_main=True) as recorder:
        recorder.start(0, 0)
        train(recorder, 1, lr=2e-8)

    assert "lr 2e-08" in capsys.readouterr().err


def test_curves_go_on_when_a_full_disk_has_room_again(tmp_path, monkeypatch):
    """TensorBoard's writer raises its first error at every later record too."""
    real, failing = SummaryWriter.add_scalar, []

    def add_scalar(board, name, *rest):
        if board in failing:
            raise OSError(28, "No space left on device")
        real(board, name, *rest)

    monkeypatch.setattr(SummaryWriter, "add_scalar", add_scalar)
    with Recorder(tmp_path, is_main=True) as recorder:
        recorder.start(0, 0)
        train(recorder, 1, loss=1.0)
        failing.append(recorder._board)
        train(recorder, 2, loss=2.0)
        train(recorder, 3, loss=3.0)

    assert (tmp_path / "log.txt").read_text().count("records are lost (No space left on device)") == 1
    assert curve(tmp_path, "train/loss") == [(1, 1.0), (3, 3.0)]
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2, 3]


def test_a_resumed_run_has_each_step_once(tmp_path):
    with Recorder(tmp_path, is_main=True) as recorder:
        recorder.start(0, 0)
        for step in (1, 2, 3, 4):
            train(recorder, step, loss=float(step))

    with Recorder(tmp_path, is_main=True) as recorder:  # from the checkpoint of step 2
        recorder.start(2, 0)
        for step in (3, 4, 5):
            train(recorder, step, loss=10.0 * step)

    expected = [(1, 1.0), (2, 2.0), (3, 30.0), (4, 40.0), (5, 50.0)]
    records = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(record["step"], record["loss"]) for record in records] == expected
    assert curve(tmp_path, "train/loss") == expected


def test_evaluations_are_curves_of_their_own(tmp_path):
    with Recorder(tmp_path, is_main=True) as recorder:
        recorder.start(0, 0)
        recorder.evaluation({"step": 5, "epoch": 1, "top1": 75.0, "ema_top1": 80.0})

    assert curve(tmp_path, "val/top1") == [(5, 75.0)]
    assert curve(tmp_path, "val/ema_top1") == [(5, 80.0)]


def test_other_processes_write_nothing_and_show_warnings_only(tmp_path, capsys):
    with Recorder(tmp_path, is_main=False) as recorder:
        recorder.start(0, 0)
        train(recorder, 1)
        recorder.evaluation({"step": 1, "epoch": 1, "top1": 75.0})
        logging.getLogger("swin_train.data").info("progress")
        logging.getLogger("swin_train.data").warning("a bad image")

    assert list(tmp_path.iterdir()) == []
    error = capsys.readouterr().err
    assert "a bad image" in error
    assert "progress" not in error


class Terminal(io.StringIO):
    """A stderr that says it is a terminal."""

    def isatty(self):
        return True


def test_a_terminal_of_80_columns_shows_step_speed_and_time_left(tmp_path, monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    for name, value in {"COLUMNS": "80", "TERM": "xterm", "FORCE_COLOR": "1"}.items():
        monkeypatch.setenv(name, value)
    with Recorder(tmp_path, is_main=True) as recorder:
        recorder.start(0, 0)
        train(recorder, 4)

    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.getvalue())
    assert "4/10" in shown
    assert "loss 2.250 lr 1.0e-03 1234 img/s 1:02:05 left" in shown
    assert "train epoch 1/2 step 4/10 loss 2.2500" in (tmp_path / "log.txt").read_text()
