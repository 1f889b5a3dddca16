"""The parts of a back end's time."""

import pytest

from swin_train.benchmark.loading import stages
from swin_train.benchmark.rounds import Sample


def samples(ms: dict[tuple[str, str], float]) -> dict[tuple[str, str], list[Sample]]:
    return {
        key: [Sample(1000, value, 1.0)] * 3 for key, value in ms.items()
    }  # 1000 images: seconds are ms each


def test_the_parts_of_a_back_end_with_workers_add_up_to_its_time() -> None:
    measured = samples(
        {
            ("", "read"): 0.1,
            ("", "pillow"): 1.6,
            ("", "libjpeg"): 1.1,
            ("official", "resized"): 3.0,
            ("official", "whole"): 5.0,
            ("official", "worker"): 5.5,
        }
    )

    parts = stages._shares(measured, "official")

    assert parts == pytest.approx({"read": 0.1, "decode": 1.5, "resize": 1.4, "finish": 2.0, "transfer": 0.5})
    assert sum(parts.values()) == pytest.approx(5.5)


def test_native_decodes_what_the_resize_alone_leaves() -> None:
    measured = samples(
        {
            ("", "read"): 0.1,
            ("", "pillow"): 1.6,
            ("", "libjpeg"): 1.1,
            ("native-host", "resized"): 1.0,
            ("native-host", "whole"): 1.4,
            ("native-host", "resize"): 0.2,
        }
    )

    parts = stages._shares(measured, "native-host")

    assert parts == pytest.approx({"read": 0.1, "decode": 0.7, "resize": 0.2, "finish": 0.4, "transfer": 0.0})
