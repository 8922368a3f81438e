from django.urls import include, path

from . import views

urlpatterns = [
    path("ours/", include("session_attachments.urls")),
    path("theirs/", views.documents),
    path("theirs/<str:name>/", views.document, name="document"),
]
