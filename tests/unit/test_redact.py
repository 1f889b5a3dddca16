"""What URLs lead to is shown, and what they let in with is not."""

import pytest

from swin_train.errors import UserError
from swin_train.redact import redacted, redacted_values


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("s3://AKIA:wJal/rXU+tn@bucket/data", "s3://bucket/data"),
        ("https://user:pass@host:8080/a/b.pth", "https://host:8080/a/b.pth"),
        ("https://token@host/x", "https://host/x"),
        ("https://host/x.pth?X-Amz-Credential=AKIA%2Fus&X-Amz-Signature=abc", "https://host/x.pth"),
        ("az://c/x?sv=2022&sig=a%2Bb+c/d=", "az://c/x"),
        ("https:/user:pass@host/x?sig=1", "https:/host/x"),  # as pathlib spells it
        ("s3://k:s@b/x and gs://b/y?t=1.", "s3://b/x and gs://b/y."),
        ("https://h/x.pth?sig=abc: the server answers 404", "https://h/x.pth: the server answers 404"),
        ("cannot be reached (https://h/x?sig=abc); try", "cannot be reached (https://h/x); try"),
        ("['--data-path', 's3://k:s@b/x?t=1', '-x']", "['--data-path', 's3://b/x', '-x']"),
        ("SSH://User:Pw@Host/x", "SSH://Host/x"),
        ("simplecache::s3://k:s@bucket/x", "simplecache::s3://bucket/x"),
    ],
)
def test_credentials_are_cut_out(text: str, shown: str) -> None:
    assert redacted(text) == shown
    assert str(UserError(text)) == shown


@pytest.mark.parametrize(
    "text",
    [
        "s3://bucket/dir@v2/x",
        "http://host:8080/a@b/c",
        "https://host/folder/name.pth: is no URL; give https://HOST/FOLDER/NAME.pth",
        "did you mean TRAIN.EPOCHS?",
        "C:/x.pth",
        "/data/a@b/c?d.jpg",
        "user@host:/path",
        "step 3/10 loss 1.5 (20 images) what?now",
    ],
)
def test_all_else_stays(text: str) -> None:
    assert redacted(text) == text


def test_values_are_looked_through() -> None:
    value = {"a": ["s3://k:s@b", 1, None, {"b": ("x?y", "https://h/x?y")}], "c": True}

    assert redacted_values(value) == {"a": ["s3://b", 1, None, {"b": ("x?y", "https://h/x")}], "c": True}
