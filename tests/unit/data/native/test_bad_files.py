"""Damaged, foreign and hostile files are refused with a reason, or left to another decoder."""

import os
import struct
from pathlib import Path

import numpy as np
import pytest

from swin_train.data.formats import FileSpan


def render(pool, item, crops, size=(8, 8)):
    return pool.render(pool.load([item]), crops, np.zeros((1, 3, *size), np.uint8))[0]


@pytest.fixture
def jpeg(photograph, encode):
    return encode(photograph(64, 48))


@pytest.fixture
def whole(crop_to):
    return crop_to((0, 0, 64, 48))


def with_size(jpeg, width, height):
    at = jpeg.index(b"\xff\xc0")
    return jpeg[: at + 5] + struct.pack(">HH", height, width) + jpeg[at + 9 :]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("empty", "the file is empty"),
        ("PNG", "it is not a JPEG file"),
        ("text", "it is not a JPEG file"),
        ("CMYK", "it is neither grey nor of three colours"),
        ("12 bits", "its samples do not have 8 bits"),
        ("arithmetic", "its coding is neither baseline nor progressive"),
        ("lossless", "its coding is neither baseline nor progressive"),
        ("truncated", "it has no end of image"),
        ("header only", "its header is damaged"),
        ("bomb", "it has more than 50 million pixels"),
        ("no pixels", "its header is damaged"),
    ],
)
def test_what_is_no_plain_jpeg_is_left_to_another_decoder(
    pool, name, reason, jpeg, photograph, encode, whole
):
    frame = jpeg.index(b"\xff\xc0")
    data = {
        "empty": b"",
        "PNG": b"\x89PNG\r\n\x1a\n" + bytes(50),
        "text": b"<html></html>",
        "CMYK": encode(photograph(64, 48).convert("CMYK")),
        "12 bits": jpeg[: frame + 4] + b"\x0c" + jpeg[frame + 5 :],
        "arithmetic": jpeg[:frame] + b"\xff\xc9" + jpeg[frame + 2 :],
        "lossless": jpeg[:frame] + b"\xff\xc3" + jpeg[frame + 2 :],
        "truncated": jpeg[:-20],
        "header only": jpeg[: frame + 10],
        "bomb": with_size(jpeg, 60000, 60000),
        "no pixels": with_size(jpeg, 64, 0),
    }[name]

    pictures = pool.load([data])

    assert pictures.needs_pillow.tolist() == [True]
    assert pictures.problems == [None]
    assert pictures.data(0) == data
    out = np.full((1, 3, 8, 8), 7, np.uint8)
    assert pool.render(pictures, whole, out) == [f"cannot be decoded ({reason})"]
    assert (out == 7).all()
    assert pool.decode(pictures) == [f"cannot be decoded ({reason})"]


def test_a_picture_of_another_decoder_takes_the_place(pool, photograph, whole):
    pictures = pool.load([b"GIF89a"])
    picture = np.asarray(photograph(64, 48))

    pictures.put(0, picture)

    assert pictures.sizes.tolist() == [[64, 48]]
    assert not pictures.needs_pillow.any()
    out = np.zeros((1, 3, 48, 64), np.uint8)
    assert pool.render(pictures, whole, out) == [None]
    np.testing.assert_array_equal(out[0].transpose(1, 2, 0), picture)


def test_bytes_behind_the_end_do_no_harm(pool, jpeg, whole):
    assert render(pool, jpeg + bytes(1000) + b"trailer", whole) is None


def test_a_thumbnail_does_not_stand_for_the_end(pool, jpeg, encode, photograph):
    thumbnail = encode(photograph(8, 8))
    app1 = b"\xff\xe1" + struct.pack(">H", len(thumbnail) + 2) + thumbnail

    assert not pool.load([jpeg[:2] + app1 + jpeg[2:]]).needs_pillow[0]
    assert pool.load([jpeg[:2] + app1 + jpeg[2:-2]]).needs_pillow[0]


def test_overwritten_pixels_are_refused(pool, jpeg, whole):
    middle = len(jpeg) - 400
    ones = 100 * b"\xff\x00"  # no code is all ones

    assert render(pool, jpeg[:middle] + ones + jpeg[middle + 200 :], whole) == (
        "cannot be decoded (Corrupt JPEG data: bad Huffman code)"
    )


def test_an_end_in_the_middle_is_refused(pool, jpeg, whole):
    middle = len(jpeg) - 300
    problem = render(pool, jpeg[:middle] + b"\xff\xd9" + jpeg[middle + 2 :], whole)

    assert problem == "cannot be decoded (Corrupt JPEG data: premature end of data segment)"


def segment(marker, *content):
    return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + bytes(content)


def progressive(num_scans):
    """8 x 8 grey pixels: each scan gives one coefficient of the three components, which is 0."""
    one_code = [1, *[0] * 15, 0]  # the bit 0 stands for 0
    scans = [segment(0xDA, 3, 1, 0, 2, 0, 3, 0, 0, 0, 0) + b"\x1f"]
    coefficients = [(component, k) for k in range(1, 64) for component in (1, 2, 3)]
    scans += [segment(0xDA, 1, component, 0, k, k, 0) + b"\x7f" for component, k in coefficients]
    tables = segment(0xDB, 0, *[1] * 64) + segment(0xC4, 0, *one_code) + segment(0xC4, 0x10, *one_code)
    frame = segment(0xC2, 8, 0, 8, 0, 8, 3, *(1, 0x11, 0), *(2, 0x11, 0), *(3, 0x11, 0))
    return b"\xff\xd8" + tables + frame + b"".join(scans[:num_scans]) + b"\xff\xd9"


def test_a_file_of_too_many_scans_is_refused(pool, crop_to):
    crops = crop_to((0, 0, 8, 8))

    assert render(pool, progressive(100), crops) is None
    assert render(pool, progressive(101), crops) == "cannot be decoded (it has more than 100 scans)"


@pytest.mark.parametrize(
    "limits", [(0, 0, 65, 48), (-1, 0, 64, 48), (5, 5, 5, 9), (9, 9, 4, 4), (0, 0, 2**31 - 1, 48)]
)
def test_a_crop_outside_the_picture_is_refused(pool, jpeg, crop_to, limits):
    assert (
        render(pool, jpeg, crop_to(limits)) == "cannot be decoded (the crop does not lie inside the picture)"
    )


@pytest.mark.parametrize(
    "box", [(0, 0, 65, 48), (-1, 0, 64, 48), (0, 0, 0, 48), (0, 0, np.nan, 48), (0, np.inf, 1, 1)]
)
def test_a_box_outside_its_limits_is_refused(pool, jpeg, whole, box):
    whole.boxes[0] = box

    assert render(pool, jpeg, whole) == "cannot be decoded (the crop does not lie inside the picture)"


def test_one_bad_picture_leaves_the_others_alone(pool, jpeg, crop_to):
    out = np.full((3, 3, 48, 64), 7, np.uint8)

    problems = pool.render(pool.load([jpeg, jpeg[:-20], jpeg]), crop_to(*[(0, 0, 64, 48)] * 3), out)

    assert [problem is None for problem in problems] == [True, False, True]
    assert (out[1] == 7).all()
    np.testing.assert_array_equal(out[0], out[2])


def test_a_picture_without_a_crop_is_left_out(pool, jpeg, crop_to):
    out = np.full((1, 3, 8, 8), 7, np.uint8)

    assert pool.render(pool.load([jpeg]), crop_to((0, 0, 0, 0)), out) == [None]
    assert (out == 7).all()


def test_a_span_of_a_file_is_read(pool, jpeg, tmp_path: Path):
    path = tmp_path / "pack"
    path.write_bytes(b"before" + jpeg + b"behind")

    pictures = pool.load([FileSpan(bytes(path), 6, len(jpeg)), FileSpan(bytes(path), 6, -1)])

    assert pictures.problems == [None, None]
    assert pictures.sizes.tolist() == [[64, 48]] * 2
    assert pictures.data(0) == jpeg
    assert pictures.data(1) == jpeg + b"behind"


@pytest.mark.parametrize(
    ("name", "offset", "length", "reason"),
    [
        ("missing", 0, -1, "No such file or directory"),
        (".", 0, -1, "Is a directory"),
        ("pipe", 0, -1, "it is not a regular file"),
        ("file/below", 0, -1, "Not a directory"),
        ("file", 90, 11, "the file ends before the picture does"),
        ("file", 101, 1, "the file ends before the picture does"),
        ("file", -1, 5, "the file ends before the picture does"),
        ("file", 0, 2**62, "the file ends before the picture does"),
    ],
)
def test_a_file_that_cannot_be_read_says_why(pool, whole, name, offset, length, reason, tmp_path: Path):
    (tmp_path / "file").write_bytes(bytes(100))
    os.mkfifo(tmp_path / "pipe")

    pictures = pool.load([FileSpan(bytes(tmp_path / name), offset, length)])

    assert pictures.problems == [f"cannot be read ({reason})"]
    assert pictures.needs_pillow.tolist() == [False]
    assert pictures.sizes.tolist() == [[0, 0]]
    assert pictures.data(0) == b""
    assert pool.render(pictures, whole, np.zeros((1, 3, 8, 8), np.uint8)) == [f"cannot be read ({reason})"]


@pytest.mark.parametrize("length", [99, 101, -1])
def test_a_whole_file_has_the_expected_length(pool, length, tmp_path: Path):
    (tmp_path / "file").write_bytes(bytes(100))
    path = bytes(tmp_path / "file")

    pictures = pool.load([FileSpan(path, 0, length, is_whole=True), FileSpan(path, 0, 100, is_whole=True)])

    assert pictures.problems == ["cannot be read (the file has another length than expected)", None]
    assert pictures.data(1) == bytes(100)


@pytest.mark.parametrize("shape", [(0, 5, 3), (5, 5, 4), (5, 5), (5, 5, 3, 1)])
def test_pixels_of_another_shape_are_a_mistake(pool, shape):
    with pytest.raises(ValueError, match="pixels are uint8"):
        pool.load([np.zeros(shape, np.uint8)])


def test_pixels_of_another_type_are_a_mistake(pool):
    with pytest.raises(ValueError, match="picture 0 is float32"):
        pool.load([np.zeros((5, 5, 3), np.float32)])
