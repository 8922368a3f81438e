"""What a site can listen to.

Each is sent after the change is committed, with `sender=Attachment` and
`attachment=`; a receiver that raises is logged and changes nothing.
"""

from django.dispatch import Signal

#: A file is stored and visible.
stored = Signal()
#: A file was removed by its visitor, replaced by a new one, or ended with its session.
removed = Signal()
#: A file was removed because it was not claimed in time.
expired = Signal()
