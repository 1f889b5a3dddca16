from collections.abc import Callable
from pathlib import Path

import pytest

from swin_train.data.formats.label_list import (
    Row,
    check_all_there,
    check_relative,
    check_without_gaps,
    folder_names,
    number_of,
    read_rows,
)
from swin_train.errors import UserError

Write = Callable[[dict[str, str | bytes]], Path]


def test_a_name_and_a_label_stand_on_each_line(write: Write) -> None:
    text = "\ufeffa b/1.png\t3\r\n\nc.png,n01 85 1 499 272\nd e.png 7\n9\n".encode()

    rows = list(read_rows(str(write({"list": text + b"\xe9.png\t1"}) / "list")))

    assert rows == [
        Row(1, "a b/1.png", "3"),
        Row(3, "c.png", "n01"),
        Row(4, "d e.png", "7"),
        Row(5, "", "9"),
        Row(6, "\udce9.png", "1"),
    ]


def test_a_line_without_a_label_is_refused_by_number(write: Write) -> None:
    path = write({"list": "1.png\t0\n2.png\t\n"}) / "list"

    with pytest.raises(UserError, match=r"list:2: '2\.png\\x09' has no label; expected NAME<tab>LABEL\."):
        list(read_rows(str(path)))


def test_a_list_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere: cannot be read \(No such file or directory\)\."):
        list(read_rows(str(tmp_path / "nowhere")))


@pytest.mark.parametrize("label", ["-1", "1.0", "n01440764", "\u0663"])
def test_a_label_that_is_no_number_is_refused(label: str) -> None:
    with pytest.raises(UserError, match=rf"^list:4: the label is '{label}'; expected a number from 0\."):
        number_of("list", Row(4, "x.png", label))


def test_labels_have_no_gaps() -> None:
    assert check_without_gaps("list", [2, 0, 1, 1]) == 3
    with pytest.raises(
        UserError,
        match=r"^list: the largest label is 9, but 7 numbers below it label no image, the first being 1;",
    ):
        check_without_gaps("list", [0, 9, 2])


@pytest.mark.parametrize("name", ["/etc/passwd.png", "../x.png", "a/../../x.png", "a/.."])
def test_a_name_that_leads_out_is_refused(name: str) -> None:
    with pytest.raises(UserError, match=rf"^list:3: {name} leads out of the data; give a path below it"):
        check_relative("list:3", name)


def test_dots_in_names_lead_nowhere() -> None:
    check_relative("list:3", "a..b/..c/d...png")


def test_images_that_do_not_exist_are_counted_and_named() -> None:
    check_all_there("list", [])
    with pytest.raises(UserError, match=r"^list: 2 images do not exist: a\.png, b\.png\. Restore them"):
        check_all_there("list", ["a.png", "b.png"])


def test_folders_name_classes_where_they_go_one_to_one_with_labels() -> None:
    assert folder_names([("b/x/1.png", 0), ("a/1.png", 1), ("b/2.png", 0)]) == {0: "b", 1: "a"}
    assert folder_names([("1.png", 0)]) is None
    assert folder_names([("a/1.png", 0), ("b/1.png", 0)]) is None
    assert folder_names([("a/1.png", 0), ("a/2.png", 1)]) is None
