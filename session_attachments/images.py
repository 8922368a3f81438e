"""Smaller versions of images, by Pillow."""

from __future__ import annotations

from io import BytesIO

from PIL import Image, ImageOps

from .models import AttachmentFile

#: What is decoded, by Pillow's names; each is sent in the format it came in.
FORMATS = ("PNG", "JPEG", "WEBP", "GIF")

#: The most that is decoded. A small file can hold a very large image.
MAX_PIXELS = 50_000_000


def downsample(
    file: AttachmentFile, factor: int, *, max_pixels: int = MAX_PIXELS
) -> tuple[bytes, str]:
    """The image with each side divided by `factor`, rounded up: means of its boxes.

    Upright, and without metadata. Of an animation, the first image. Raises `ValueError`
    for what is no such image, and for one of more than `max_pixels`.
    """
    try:
        with Image.open(file, formats=FORMATS) as image:
            if image.width * image.height > max_pixels:
                raise ValueError("The image has too many pixels.")
            return _reduced(image, factor), Image.MIME[str(image.format)]
    except Exception as error:
        # What a damaged file makes Pillow raise is known to no list: its metadata alone
        # are a TypeError, a KeyError or a struct.error.
        raise ValueError(str(error)) from error


def _reduced(image: Image.Image, factor: int) -> bytes:
    upright = ImageOps.exif_transpose(image)
    if upright.mode == "I;16":
        # Pillow makes everything from 256 on white.
        upright = upright.point(lambda value: value / 256).convert("L")
    # A mean of palette entries is no colour.
    alpha = "transparency" in upright.info or upright.mode in ("LA", "PA", "RGBA")
    mode = "RGBA" if alpha else "L" if upright.mode in ("1", "L") else "RGB"
    reduced = upright.convert(mode).reduce(factor)
    # What else the file says stays behind with the first image.
    bare = Image.new(mode, reduced.size)
    bare.paste(reduced)
    content = BytesIO()
    bare.save(content, format=image.format)
    return content.getvalue()
