"""A process whose peer is gone says so, and leaves the reason to the peer."""

import pytest

from swin_train.cli import main as cli


@pytest.fixture
def fail_with(monkeypatch, capsys):
    def run(error: Exception) -> tuple[int, str]:
        def raising(argv):
            raise error

        monkeypatch.setitem(cli.COMMANDS, "train", raising)
        status = cli.main(["train"])
        return status, capsys.readouterr().err

    return run


def test_a_lost_peer_is_one_line(fail_with, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")

    status, error = fail_with(
        RuntimeError("[gloo/tcp/pair.cc:511] Connection closed by peer [127.0.0.1]:1234")
    )

    assert status == 1
    assert error.startswith("[rank 1] error: another process of the run has ended or hangs ([gloo/")
    assert error.count("\n") == 1


@pytest.mark.parametrize("world_size", ["2", None])
def test_other_failures_keep_their_traceback(fail_with, monkeypatch, world_size):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    if world_size:
        monkeypatch.setenv("WORLD_SIZE", world_size)

    with pytest.raises(RuntimeError, match="out of memory"):
        fail_with(RuntimeError("CUDA error: out of memory"))


def test_without_peers_a_closed_connection_is_something_else(fail_with, monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)

    with pytest.raises(RuntimeError, match="Connection closed"):
        fail_with(RuntimeError("Connection closed by peer"))
