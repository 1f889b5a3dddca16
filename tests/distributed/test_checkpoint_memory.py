"""What saving takes beside the state, of Swin-L's size: scripts/checkpoint_memory.py measures, and judges."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
ONE, TWO = (
    8 << 30,
    14 << 30,
)  # bytes: of states, copies, gradients and torch itself, twice where there are two


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("case", "needed"),
    [("1-ddp-async", ONE), ("1-ddp-sync", ONE), ("2-fsdp-async", ONE), ("2-ddp-async", TWO)],
)
def test_saving_takes_at_most_1_3_times_the_state(case, needed, tmp_path):
    if os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") < needed:
        pytest.skip(f"this machine has less than {needed / 1e9:.0f} GB of memory")

    result = subprocess.run(
        [sys.executable, "-W", "ignore", REPO / "scripts/checkpoint_memory.py", case],
        env=os.environ | {"PYTHONPATH": f"{REPO}:{REPO / 'tests'}"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )

    assert result.returncode == 0, result.stdout + result.stderr
