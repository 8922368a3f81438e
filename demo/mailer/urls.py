from django.contrib import admin
from django.templatetags.static import static
from django.urls import include, path
from django.views.generic import RedirectView

from . import views

urlpatterns = [
    path("", views.compose, name="compose"),
    path("sent/", views.sent, name="sent"),
    path("sent/files/<int:pk>/", views.download, name="download"),
    path("attachments/", include("session_attachments.urls")),
    # For the admin's pages, which name no icon.
    path("favicon.ico", RedirectView.as_view(url=static("mailer/icon.svg"))),
    path("admin/", admin.site.urls),
]
