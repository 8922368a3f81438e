"""Smaller versions of images: means of boxes, upright, and nothing else."""

import struct
from io import BytesIO

import pytest
from PIL import Image, PngImagePlugin

from session_attachments import images


def encoded(image, format="PNG", **options):  # noqa: A002
    file = BytesIO()
    image.save(file, format, **options)
    file.seek(0)
    return file


def downsample(file, factor):
    content, mimetype = images.downsample(file, factor)
    image = Image.open(BytesIO(content))
    image.load()
    assert mimetype == Image.MIME[image.format]
    return image


def checkers(mode="L", size=(6, 4)):
    """Columns of two pixels, dark and light in turn."""
    image = Image.new("L", size)
    image.putdata([(x // 2 % 2) * 200 for y in range(size[1]) for x in range(size[0])])
    return image.convert(mode)


def test_downsample__is_the_mean_of_each_box():
    image = Image.new("L", (4, 2))
    image.putdata([0, 100, 10, 30, 40, 60, 50, 70])
    assert list(downsample(encoded(image), 2).tobytes()) == [50, 40]


def test_downsample__is_the_mean_of_each_box_of_16_bits():
    image = Image.new("I;16", (4, 2))
    for x, value in enumerate([0x4000, 0x4000, 0x4000, 0xC000]):
        image.putpixel((x, 0), value)
        image.putpixel((x, 1), value)
    reduced = downsample(encoded(image), 2)
    assert reduced.mode == "L"
    assert list(reduced.tobytes()) == [0x40, 0x80]


def test_downsample__rounds_the_size_up():
    assert downsample(encoded(checkers(size=(5, 3))), 2).size == (3, 2)
    assert downsample(encoded(checkers()), 1000).size == (1, 1)


def test_downsample__of_boxes_as_large_as_they_may_be():
    white = encoded(Image.new("L", (600, 300), 255))
    assert downsample(white, 256).getextrema() == (255, 255)
    with pytest.raises(ValueError, match="factor"):
        images.downsample(white, 257)


def test_downsample__first_picture_of_a_phones_jpeg():
    """Pillow calls it an MPO, which browsers do not show."""
    pictures = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    file = encoded(pictures[0], "MPO", save_all=True, append_images=pictures[1:])
    reduced = downsample(file, 2)
    assert reduced.format == "JPEG"
    assert reduced.getpixel((0, 0))[0] > 200


@pytest.mark.parametrize("format_", ["PNG", "JPEG", "WEBP", "GIF"])
def test_downsample__keeps_the_format(format_):
    assert downsample(encoded(checkers("RGB"), format_), 2).format == format_


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        *(("1", "L"), ("L", "L"), ("P", "RGB"), ("RGB", "RGB")),
        *(("LA", "RGBA"), ("RGBA", "RGBA")),
    ],
)
def test_downsample__every_kind_of_pixels(mode, expected):
    assert downsample(encoded(checkers(mode)), 2).mode == expected


def test_downsample__palette_with_a_transparent_entry():
    image = checkers("P")
    reduced = downsample(encoded(image, transparency=image.getpixel((0, 0))), 2)
    assert reduced.mode == "RGBA"
    assert list(reduced.getchannel("A").tobytes())[:3] == [0, 255, 0]


def test_downsample__turns_it_upright():
    image = Image.new("L", (4, 2))
    image.putdata([0] * 2 + [250] * 2 + [0] * 2 + [250] * 2)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    reduced = downsample(encoded(image, exif=exif), 2)
    assert reduced.size == (1, 2)
    assert list(reduced.tobytes()) == [0, 250]


@pytest.mark.parametrize("format_", ["PNG", "JPEG", "WEBP"])
def test_downsample__leaves_the_metadata_behind(format_):
    exif = Image.Exif()
    exif[0x010E] = "secret place"
    options = {"exif": exif, "icc_profile": b"secret profile"}
    if format_ == "PNG":
        options["pnginfo"] = PngImagePlugin.PngInfo()
        options["pnginfo"].add_text("Comment", "secret comment")
    if format_ == "JPEG":
        options["comment"] = "secret comment"
    file = encoded(checkers("RGB"), format_, **options)
    assert b"secret" in file.getvalue()
    content, _ = images.downsample(file, 2)
    assert b"secret" not in content
    assert not Image.open(BytesIO(content)).getexif()


def test_downsample__first_image_of_an_animation():
    first, second = Image.new("L", (4, 4), 200), Image.new("L", (4, 4), 0)
    file = encoded(first, "GIF", save_all=True, append_images=[second])
    reduced = downsample(file, 2)
    assert getattr(reduced, "n_frames", 1) == 1
    assert reduced.convert("L").getpixel((0, 0)) == 200


def test_downsample__too_many_pixels(monkeypatch):
    """Before any of them is decoded."""
    file = encoded(Image.new("1", (10_000, 5_001)))
    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", None)
    with pytest.raises(ValueError, match="pixels"):
        images.downsample(file, 2)


def test_downsample__as_many_pixels_as_the_site_says():
    file = encoded(checkers(size=(6, 4)))
    assert images.downsample(file, 2, max_pixels=24)
    with pytest.raises(ValueError, match="pixels"):
        images.downsample(file, 2, max_pixels=23)


@pytest.mark.parametrize("format_", ["BMP", "TIFF", "ICO"])
def test_downsample__other_formats_are_not_tried(format_):
    with pytest.raises(ValueError, match="cannot identify"):
        images.downsample(encoded(checkers("RGB"), format_), 2)


def damaged_exif(tag, kind):
    """Metadata that turn the image, with an entry of this tag and type."""
    entries = ((tag, kind, 1, b"\0\0\0\7"), (0x0112, 3, 1, b"\0\6\0\0"))
    return b"".join(
        [
            *(b"Exif\0\0", b"MM\0*\0\0\0\x08", struct.pack(">H", len(entries))),
            *(struct.pack(">HHL4s", *entry) for entry in entries),
            b"\0\0\0\0",
        ]
    )


@pytest.mark.parametrize("format_", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("tag", [0x0100, 0x010E, 0x011A, 0x8769, 0x8825])
@pytest.mark.parametrize("kind", range(14))
def test_downsample__metadata_that_are_damaged(format_, tag, kind):
    """It is turned, or refused; nothing else."""
    file = encoded(Image.new("RGB", (8, 8)), format_, exif=damaged_exif(tag, kind))
    try:
        reduced = downsample(file, 2)
    except ValueError:
        return
    assert reduced.size == (4, 4)


@pytest.mark.parametrize("part", [0, 0.1, 0.5, 0.9])
def test_downsample__image_that_is_cut_short(part):
    whole = encoded(Image.effect_noise((50, 50), 100)).getvalue()
    with pytest.raises(ValueError, match=r"."):
        images.downsample(BytesIO(whole[: int(len(whole) * part)]), 2)
