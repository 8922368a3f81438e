"""The paths below the prefix at which a site includes this module.

Everything below that prefix is answered here: what is nothing of ours is a 404 as a
problem document, and never Django's redirect to a path with a slash.
"""

from django.urls import path, re_path

from . import views

file = views.FileView.as_view()
bundle_removal = views.BundleRemovalView.as_view()

urlpatterns = [
    path("<str:bundle_id>/", views.BundleView.as_view(), name="bundle-attachments"),
    path(
        "<str:bundle_id>/delete/",
        bundle_removal,
        {"file_name": "delete"},
        name="delete-bundle-attachments",
    ),
    path("<str:bundle_id>/delete", bundle_removal, {"file_name": "delete"}),
    path("<str:bundle_id>/<str:file_name>/", file, name="get-filename-attachment"),
    # What `curl -T spam.txt …/foo/` sends.
    path("<str:bundle_id>/<str:file_name>", file),
    path(
        "<str:bundle_id>/<str:file_name>/delete/",
        views.FileRemovalView.as_view(),
        name="delete-filename-attachment",
    ),
    path(
        "<str:bundle_id>/<str:file_name>/downsample/<str:factor>/",
        views.DownsampleView.as_view(),
        name="downsample-attachment",
    ),
    re_path("", views.NothingView.as_view()),
]
