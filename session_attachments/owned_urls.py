"""The paths of files that objects of the site have claimed.

path("files/", include("session_attachments.owned_urls")),
{% url "owned-attachment" attachment.public_id %}

Everything below that prefix is answered here: what cannot be one of these paths is a
404 as a problem document, and no question for the database.
"""

from django.urls import re_path

from . import views

file = views.OwnedView.as_view()

#: What `models.new_public_id` makes.
PUBLIC_ID = "(?P<public_id>[0-9a-f]{32})"

urlpatterns = [
    re_path(f"^{PUBLIC_ID}/$", file, name="owned-attachment"),
    re_path(f"^{PUBLIC_ID}$", file),
    re_path("", views.NothingView.as_view()),
]
