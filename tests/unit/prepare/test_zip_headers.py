"""Archives beyond the old limits of 4 GiB and 65,535 members are read by other programs."""

import io
import zipfile
from pathlib import Path

from swin_train.prepare.zip_headers import Member, central_header, end_of_archive, local_header, member_at

FAR = 5 << 30


def test_a_member_behind_4_gib_is_found(tmp_path: Path) -> None:
    with (tmp_path / "far.zip").open("w+b") as file:
        members = []
        for name, offset in (("a/near.png", 0), ("é/far.png", FAR)):
            file.seek(offset)
            file.write(local_header(name, name.encode()) + name.encode())
            file.flush()
            members.append(member_at(lambda at, size: [file.seek(at), file.read(size)][1], offset))
        start = file.seek(members[1].end)
        directory = b"".join(map(central_header, members))
        file.write(directory + end_of_archive(2, start, len(directory)))

    with zipfile.ZipFile(tmp_path / "far.zip") as archive:
        assert {name: archive.read(name).decode() for name in archive.namelist()} == {
            "a/near.png": "a/near.png",
            "é/far.png": "é/far.png",
        }
        assert archive.getinfo("é/far.png").header_offset == FAR


def test_more_members_than_16_bits_count() -> None:
    file, directory, count = io.BytesIO(), [], 65_536
    header = local_header("0", b"")
    for number in range(count):
        directory.append(central_header(Member(f"{number}", 0, 0, len(header) * number)))
    file.write(header * count)
    size = sum(map(len, directory))
    file.write(b"".join(directory) + end_of_archive(count, len(header) * count, size))

    with zipfile.ZipFile(file) as archive:
        assert len(archive.namelist()) == count
        assert archive.namelist()[-1] == "65535"


def test_members_are_what_their_headers_say() -> None:
    data = local_header("c/x.jpg", b"123") + b"123" + local_header("c/y.jpg", b"") + b""

    first = member_at(lambda offset, size: data[offset : offset + size], 0)
    second = member_at(lambda offset, size: data[offset : offset + size], first.end)

    assert (first.name, first.size, first.crc) == ("c/x.jpg", 3, 0x884863D2)
    assert (second.name, second.size, second.end) == ("c/y.jpg", 0, len(data))
