"""What can be said of images on a cluster."""

from __future__ import annotations

import pytest

from lading.engine.kubernetes.images import image_info, no_images

DIGEST, OTHER = f"sha256:{'0' * 64}", f"sha256:{'1' * 64}"


@pytest.mark.parametrize(
    ("ref", "ran", "identity", "runs_as"),
    [
        # Of a registry: by its manifest's digest.
        ("x:1", f"docker.io/library/x@{DIGEST}", DIGEST, f"docker.io/library/x@{DIGEST}"),
        ("r.example/x", f"r.example/x@{DIGEST}", DIGEST, f"r.example/x@{DIGEST}"),
        # Only on a node: by its configuration's.
        ("x:1", DIGEST, DIGEST, DIGEST),
        (DIGEST, DIGEST, DIGEST, DIGEST),
        # Under a name that a runtime made up for what was imported: nobody finds it by that.
        ("x:1", f"docker.io/library/import-2026@{DIGEST}", DIGEST, "x:1"),
        # Nobody says.
        ("x:1", "", "x:1", "x:1"),
    ],
)
def test_which_image_a_name_means(ref: str, ran: str, identity: str, runs_as: str) -> None:
    info = image_info(ref, ran)
    assert (info.id, info.runs_as) == (identity, runs_as)
    assert info.tags == (() if ref == DIGEST else (ref,))
    assert info.digests == ((ran,) if info.reference == ran and "@" in ran else ())


def test_a_reference_by_digest_is_no_tag() -> None:
    info = image_info(f"x@{OTHER}", f"docker.io/library/x@{OTHER}", size=5)
    assert (info.tags, info.size) == ((), 5)


def test_the_way_out() -> None:
    error = no_images("build images")
    assert str(error).startswith("a cluster can't build images: it fetches images from registries;")
