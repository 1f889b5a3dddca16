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
    path.write_text('{"step": 1}\n[1]\n{"step": 2}\n{"step": 3}\n{"ste')
    lines = JsonLines(path)

    lines.rewind(2)
    lines.write({"step": 3, "again": True})
    lines.close()

    assert read(path) == [{"step": 1}, {"step": 2}, {"step": 3, "again": True}]
