from swin_train.weights.layouts.dropped import NOTHING, Dropped


def test_each_reason_is_said() -> None:
    assert Dropped().reasons() == []
    assert Dropped(17, 3, 12, 1, 173, 2).reasons() == [
        "dropped 17 buffers (recomputed)",
        "dropped 3 tensors of the pre-training",
        "dropped 12 key biases (torchvision sets them to zero)",
        "dropped 1 counter of the averaging",
        "dropped 173 averaged tensors (TEST.WEIGHTS ema and convert --weights ema take them)",
        "dropped 2 tensors that the features do not need",
    ]


def test_what_is_dropped_at_two_places_is_counted_together() -> None:
    assert Dropped(1, 2, 3, 4, 5, 6) + Dropped(10, 20, 30, 40, 50, 60) == Dropped(11, 22, 33, 44, 55, 66)
    assert Dropped(1, 2, 3, 4, 5, 6) + NOTHING == Dropped(1, 2, 3, 4, 5, 6)
