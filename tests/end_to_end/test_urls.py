"""A URL does where a path of weights does: to evaluate, to start a training; not to go on with one."""

from swin_train.cli.main import main

CFG = ["--cfg", "swin_tiny_patch4_window7_224"]


def test_a_url_of_weights_is_evaluated_fine_tuned_and_not_resumed(tiny_opts, tmp_path, site, capsys):
    opts = ["--opts", *tiny_opts(TRAIN__EPOCHS=1, TRAIN__WARMUP_EPOCHS=0)]
    assert main([*CFG, *opts]) == 0
    best = tmp_path / "output/tiny/default/weights/best.safetensors"
    url = site.give("/best.safetensors", best.read_bytes())
    capsys.readouterr()

    assert main(["eval", *CFG, "--resume", str(best), *opts]) == 0
    by_path = capsys.readouterr().out
    assert main(["eval", *CFG, "--resume", url, *opts]) == 0
    by_url = capsys.readouterr()
    assert by_url.out == by_path
    assert f"{url} is now {tmp_path}/torch_home/hub/checkpoints/" in by_url.err

    assert main([*CFG, "--pretrained", url, "--tag", "fine", *opts]) == 0
    log = capsys.readouterr().err
    assert f"{url} was downloaded before: {tmp_path}/torch_home/hub/checkpoints/" in log
    assert f"{url}: loaded 50 tensors; head of 4 classes kept" in log

    assert main([*CFG, "--resume", url, "--tag", "other", *opts]) == 2
    assert (
        capsys.readouterr()
        .err.rstrip()
        .endswith(
            f"MODEL.RESUME: {url} is a URL, which gives weights and no training state to go on from; start from its "
            f"weights with --pretrained {url}"
        )
    )


def test_a_url_that_gives_nothing_is_one_message(tiny_opts, site, capsys):
    assert main(["eval", *CFG, "--resume", f"{site.address}/none.pth", "--opts", *tiny_opts()]) == 2

    assert f"error: {site.address}/none.pth: the server answers 404 " in capsys.readouterr().err


def test_a_copy_of_a_url_that_is_no_weights_is_named_so_that_it_can_be_deleted(tmp_path, site, capsys):
    url = site.give("/x.pth", b"\x80damaged")

    for _ in range(2):
        assert main(["convert", url, str(tmp_path / "out.pth"), "--to", "timm"]) == 2

        (copy,) = (tmp_path / "torch_home").rglob("x.pth")
        message = capsys.readouterr().err.rpartition("error: ")[2]
        assert message.startswith(
            f"{copy}: cannot be read as a checkpoint, it is damaged or of another kind ("
        )
        assert message.endswith("; copy or download it again (delete it first)\n")
        copy.unlink()

    assert site.requests == ["/x.pth", "/x.pth"]
