"""The search for a micro-batch on a CUDA device."""

import pytest
import torch

from swin_train import load_config
from swin_train.engine.fit import fit

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, to run out of its memory"),
]


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_where_cuda_gives_no_more_is_found(tiny_opts, precision):
    options = {"DEVICE": "cuda", "AMP_DTYPE": precision, "DATA__IMG_SIZE": 64, "TRAIN__EMA_DECAY": 0.9}
    cfg = load_config(None, tiny_opts(**options, AUG__MIX_GROUP=8, TRAIN__GLOBAL_BATCH=8192))
    before = torch.cuda.memory_allocated()

    found = fit(cfg, memory_gb=0.5)
    again = fit(cfg, memory_gb=0.5)

    assert found.largest.micro_batch < 8192
    assert [t.fits for t in found.trials if t.micro_batch == found.largest.micro_batch + 8] == [False]
    assert all(trial.peak_bytes <= 2**29 for trial in found.trials)
    peaks = [trial.peak_bytes for trial in sorted(found.trials, key=lambda t: t.micro_batch) if trial.fits]
    assert peaks == sorted(peaks)
    assert again.largest.micro_batch == found.largest.micro_batch
    assert torch.cuda.memory_allocated() == before  # also after those that failed
