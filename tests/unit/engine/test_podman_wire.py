from __future__ import annotations

import io
import tarfile

from hypothesis import given
from hypothesis import strategies as st

from lading.engine.podman_wire import without_padding

SIZES = st.one_of(st.integers(0, 2000), st.sampled_from([511, 512, 513, 9216, 10_240]))


@given(
    st.dictionaries(st.text("abcä/", min_size=1, max_size=150), SIZES, max_size=5),
    st.booleans(),
    st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]),
)
def test_an_archive_ends_with_its_mark(sizes: dict[str, int], folder: bool, form: int) -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=form) as tar:
        if folder:
            entry = tarfile.TarInfo("folder")
            entry.type = tarfile.DIRTYPE
            tar.addfile(entry)
        for name, size in sizes.items():
            entry = tarfile.TarInfo(name)
            entry.size = size
            tar.addfile(entry, io.BytesIO(bytes(size)))  # these zeros are content, not padding
        end = stream.tell()
    assert without_padding(stream.getvalue()) == stream.getvalue()[: end + 1024]
