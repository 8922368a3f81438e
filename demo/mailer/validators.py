"""What this site does not take, whatever the file is called."""

from django.core.exceptions import ValidationError

PROGRAMS = (b"MZ", b"\x7fELF", b"\xca\xfe\xba\xbe", b"\xcf\xfa\xed\xfe")


def no_programs(file):
    if file.read(4).startswith(PROGRAMS):
        raise ValidationError("Programs cannot be sent by mail.")
