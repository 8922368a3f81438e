from django.contrib import admin
from django.urls import include, path

from . import views, wizards

urlpatterns = [
    path("admin/", admin.site.urls),
    path("attachments/", include("session_attachments.urls")),
    path("files/", include("session_attachments.owned_urls")),
    path("mail/", views.send_mail, name="mail"),
    path("mail/async/", views.send_mail_async, name="mail-async"),
    path("mail/wizard/", wizards.MailWizard.as_view(), name="wizard"),
    path("apply/", views.apply, name="apply"),
    path("apply/view/", views.ApplicationView.as_view(), name="apply-view"),
    path("apply/<int:pk>/", views.apply, name="apply"),
    path("applications/", views.applications, name="applications"),
    path("tickets/<str:draft>/", views.open_ticket, name="ticket"),
    path("sent/", views.sent, name="sent"),
]
