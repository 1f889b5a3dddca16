"""metrics.jsonl."""

import json
import math

from swin_train.record.json_lines import JsonLines


def read(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_numbers_that_are_not_finite_are_null(tmp_path):
    lines = JsonLines(tmp_path / "metrics.jsonl")
    lines.write({"step": 1, "loss": math.nan, "lr": 0.1})
    lines.close()

    assert read(lines.path) == [{"step": 1, "loss": None, "lr": 0.1}]


def test_rewinding_drops_later_records_and_a_torn_line(tmp_path):
    path = tmp_path / "metrics.jsonl"
    one, two, three = ({"kind": "train", "step": step} for step in (1, 2, 3))
    path.write_text(f"{json.dumps(one)}\n[1]\n{json.dumps(two)}\n{json.dumps(three)}\n" + '{"kind": "tr')
    lines = JsonLines(path)

    lines.rewind(2, evaluated=0)
    lines.write({"kind": "train", "step": 3, "again": True})
    lines.close()

    assert read(path) == [one, two, {"kind": "train", "step": 3, "again": True}]


def test_rewinding_drops_evaluations_that_will_be_made_again(tmp_path):
    """A run that was stopped in the evaluation after update 4 makes it again, though the update is done."""
    kinds = [("val", 2), ("train", 4), ("val", 4)]
    lines = JsonLines(tmp_path / "metrics.jsonl")
    for kind, step in kinds:
        lines.write({"kind": kind, "step": step})

    lines.rewind(4, evaluated=2)
    lines.close()

    assert read(lines.path) == [{"kind": kind, "step": step} for kind, step in kinds[:2]]
