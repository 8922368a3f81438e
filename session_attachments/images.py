"""Smaller versions of images, by Pillow."""

from __future__ import annotations

from io import BytesIO

from PIL import Image, ImageOps

from .models import AttachmentFile

#: What is decoded, by Pillow's names; each is sent in the format it came in.
FORMATS = ("PNG", "JPEG", "WEBP", "GIF")

#: The most that is decoded. A small file can hold a very large image.
MAX_PIXELS = 50_000_000

#: Of larger boxes Pillow's sums do not come out right.
MAX_BOX = 256


def downsample(
    file: AttachmentFile, factor: int, *, max_pixels: int = MAX_PIXELS
) -> tuple[bytes, str]:
    """The image with each side divided by `factor`, rounded up: means of its boxes.

    Upright, and without metadata. Of an animation, or of a JPEG that holds several, the
    first image. Raises `ValueError` for what is no such image, for one of more than
    `max_pixels`, and for boxes of more than 256 pixels a side.
    """
    try:
        with Image.open(file, formats=FORMATS) as image:
            if image.width * image.height > max_pixels:
                raise ValueError("The image has too many pixels.")
            # All of it is one box, where the factor is larger still.
            factor = min(factor, max(image.size))
            if factor > MAX_BOX:
                raise ValueError("The factor is too large for the image.")
            # A phone's JPEG may hold a second one, and is an MPO to Pillow.
            kind = "JPEG" if image.format == "MPO" else str(image.format)
            return _reduced(image, factor, kind), Image.MIME[kind]
    except Exception as error:
        # What a damaged file makes Pillow raise is known to no list: its metadata alone
        # are a TypeError, a KeyError or a struct.error.
        raise ValueError(str(error)) from error


def _reduced(image: Image.Image, factor: int, kind: str) -> bytes:
    upright = ImageOps.exif_transpose(image)
    if upright.mode == "I;16":
        # Pillow makes everything from 256 on white.
        upright = upright.point(lambda value: value / 256).convert("L")
    # A mean of palette entries is no colour.
    alpha = "transparency" in upright.info or upright.mode in ("LA", "RGBA")
    mode = "RGBA" if alpha else "L" if upright.mode in ("1", "L") else "RGB"
    reduced = upright.convert(mode).reduce(factor)
    # What else the file says stays behind with the first image.
    bare = Image.new(mode, reduced.size)
    bare.paste(reduced)
    content = BytesIO()
    bare.save(content, format=kind)
    return content.getvalue()
