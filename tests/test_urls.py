"""The paths, and their names."""

import pytest
from django.test.utils import override_script_prefix
from django.urls import Resolver404, include, path, resolve, reverse

from session_attachments import views
from tests.wire import content, form, problem

PATHS = {
    "bundle-attachments": "/attachments/foo/",
    "delete-bundle-attachments": "/attachments/foo/delete/",
    "get-filename-attachment": "/attachments/foo/spam.txt/",
    "delete-filename-attachment": "/attachments/foo/spam.txt/delete/",
}


class Namespaced:
    """A urlconf that includes ours twice, under names."""

    app = include(("session_attachments.urls", "files"), namespace="first")
    other = include(("session_attachments.urls", "files"), namespace="second")
    urlpatterns = [path("a/", app), path("b/", other)]


class Root:
    urlpatterns = [path("", include("session_attachments.urls"))]


@pytest.mark.parametrize(("name", "url"), PATHS.items())
def test_reverse__as_in_version_0_2(name, url):
    kwargs = {"bundle_id": "foo", "file_name": "spam.txt"}
    if "filename" not in name:
        del kwargs["file_name"]
    assert reverse(name, kwargs=kwargs) == url
    assert reverse(name, args=kwargs.values()) == url
    match = resolve(url)
    assert match.url_name == name
    assert match.kwargs == kwargs | (
        {"file_name": "delete"} if name == "delete-bundle-attachments" else {}
    )


@pytest.mark.parametrize("url", ["", "foo", "foo/a/b/", "foo/a/delete", "a//"])
def test_resolve__anything_else_is_nothing(url):
    assert resolve(f"/attachments/{url}").func.view_class is views.NothingView


def test_resolve__only_below_the_prefix():
    with pytest.raises(Resolver404):
        resolve("/attachmentsfoo/")


@pytest.mark.django_db(transaction=True)
def test_namespace__is_that_of_the_request(client, settings):
    settings.ROOT_URLCONF = Namespaced
    for prefix in ("/a/", "/b/"):
        [item] = client.post(f"{prefix}foo/", **form(("spam.txt", b"spam"))).json()
        assert item["url"] == f"{prefix}foo/spam.txt/"
        assert content(client.get(item["url"])) == b"spam"
        assert client.get(f"{prefix}foo/").json() == [item]
        assert client.put(item["url"], b"egg").json()["url"] == item["url"]
        assert client.post(item["delete_url"]).json() == [True]


@pytest.mark.django_db(transaction=True)
def test_prefix__may_be_empty(client, settings):
    settings.ROOT_URLCONF = Root
    [item] = client.post("/foo/", **form(("spam.txt", b"spam"))).json()
    assert content(client.get(item["url"])) == b"spam"
    problem(client.get("/"), 404, "not_found")


@pytest.mark.django_db(transaction=True)
def test_script_name__is_part_of_the_url(client):
    with override_script_prefix("/site/"):
        [item] = client.post("/attachments/foo/", **form(("spam.txt", b"spam"))).json()
    assert item["url"] == "/site/attachments/foo/spam.txt/"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("debug", [True, False])
def test_slash__is_never_appended_by_a_redirect(client, settings, debug):
    settings.DEBUG = debug
    for method in ("GET", "POST", "PUT", "DELETE"):
        problem(client.generic(method, "/attachments/foo", b"x"), 404, "not_found")
    assert client.put("/attachments/foo/spam.txt", b"spam").status_code == 201


@pytest.mark.django_db(transaction=True)
def test_prefix__may_have_arguments_of_the_site(client, settings):
    settings.ROOT_URLCONF = Tenants
    [item] = client.post("/acme/attachments/foo/", **form(("a.txt", b"a"))).json()
    assert item["url"] == "/acme/attachments/foo/a.txt/"
    assert content(client.get(item["url"])) == b"a"
    assert client.post(item["delete_url"]).json() == [True]


class Tenants:
    urlpatterns = [
        path("<slug:tenant>/attachments/", include("session_attachments.urls"))
    ]
