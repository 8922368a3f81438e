"""The test project, with the files that objects own."""

from django.urls import include, path

from tests.urls import urlpatterns as others

urlpatterns = [path("files/", include("session_attachments.owned_urls")), *others]
